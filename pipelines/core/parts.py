"""A stage's rows as part files: how they are named, read in order, and summed up.

Knows the layout `rows/part-<shard>.parquet` and `dropped/part-<shard>.parquet`. A shard is a fixed cut of the
input (never of the cluster), so a retried shard writes the same names again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from pipelines.core.hashing import rows_digest
from pipelines.core.records import Dropped
from pipelines.core.storage import Folder

R = TypeVar("R")
SHARD_ROWS = 32
PART_ROWS = 8 * SHARD_ROWS
MANY_SHARDS = 8192


@dataclass(frozen=True)
class Shard:
    """Rows [start, stop) of one part file of a stage's input."""

    number: int
    part: str
    start: int
    stop: int

    @property
    def file(self) -> str:
        return f"part-{self.number:06d}.parquet"


def cut(folder: Folder, rows_per_shard: int | None = None) -> list[Shard]:
    """Cut a finished stage's rows into shards, from the files' row counts alone."""
    rows = folder.child("rows")
    counts = {part: rows.row_count(part) for part in rows.files(".parquet")}
    size = rows_per_shard or _shard_rows(sum(counts.values()))
    shards: list[Shard] = []
    for part, count in counts.items():
        for start in range(0, count, size):
            shards.append(Shard(len(shards), part, start, min(start + size, count)))
    return shards


def _shard_rows(rows: int) -> int:
    """Larger shards for larger inputs: a driver has to hold something of each."""
    size = SHARD_ROWS
    while rows > MANY_SHARDS * size and size < PART_ROWS:
        size *= 2
    return size


def read_shard(folder: Folder, shard: Shard, kind: type[R]) -> list[R]:
    return folder.child("rows").read_records(shard.part, kind)[shard.start : shard.stop]


def write_shard(
    folder: Folder,
    shard: Shard,
    rows: list[R],
    kind: type[R],
    dropped: list[Dropped],
    facts: Mapping[str, int] | None = None,
) -> None:
    """Commit a shard: the dropped rows first, so that the rows' file means the whole shard is there."""
    if dropped:
        folder.child("dropped").write_records(shard.file, dropped, Dropped)
    else:
        folder.child("dropped").remove(shard.file)  # what an earlier try of this shard may have left
    folder.child("rows").write_records(shard.file, rows, kind, facts)


def write_rows(folder: Folder, rows: Sequence[R], kind: type[R], dropped: Sequence[Dropped] = ()) -> None:
    """All rows of a stage that is made in one go; parts stay small, so that a shard's reader reads little else."""
    cuts = range(0, max(1, len(rows)), PART_ROWS)
    for number, start in enumerate(cuts):
        part = list(rows[start : start + PART_ROWS])
        write_shard(folder, Shard(number, "", 0, 0), part, kind, list(dropped) if number == 0 else [])


def has_shard(folder: Folder, shard: Shard) -> bool:
    return folder.child("rows").exists(shard.file)


def committed_files(folder: Folder) -> set[str]:
    """The files of all committed shards, by one listing."""
    return set(folder.child("rows").files(".parquet"))


def rows_of(folder: Folder, kind: type[R], keep: Callable[[R], bool] = lambda _: True) -> Iterator[R]:
    """A stage's rows, part by part in the input's order."""
    rows = folder.child("rows")
    for part in rows.files(".parquet"):
        yield from filter(keep, rows.read_records(part, kind))


def dropped_of(folder: Folder) -> Iterator[Dropped]:
    dropped = folder.child("dropped")
    for part in dropped.files(".parquet"):
        yield from dropped.read_records(part, Dropped)


def total(folder: Folder, fact: str) -> int:
    """A fact summed over all shards, e.g. the tokens that they cost."""
    rows = folder.child("rows")
    return sum(rows.read_facts(part).get(fact, 0) for part in rows.files(".parquet"))


def summary(folder: Folder, kind: type[R]) -> tuple[int, str, dict[str, int]]:
    """(rows, digest of their content, dropped rows by reason)."""
    count = 0

    def counted() -> Iterator[dict[str, object]]:
        nonlocal count
        for row in rows_of(folder, kind):
            count += 1
            yield asdict(row)  # type: ignore[call-overload]

    digest = rows_digest(counted())
    reasons: dict[str, int] = {}
    for row in dropped_of(folder):
        reasons[row.reason] = reasons.get(row.reason, 0) + 1
    return count, digest, reasons
