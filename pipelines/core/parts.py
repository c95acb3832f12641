"""A stage's rows as part files: how they are named, read in order, and summed up.

Knows the layout `rows/part-<shard>.parquet` and `dropped/part-<shard>.parquet`. A shard is a fixed cut of the
input (never of the cluster), so a retried shard writes the same names again. What a stage sums up of a part lies in
the part's footer: whoever writes a shard has its rows in hand, and the driver would read them all again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import chain
from typing import TypeVar

from pipelines.core.hashing import digest_of_sum, rows_sum
from pipelines.core.records import Dropped
from pipelines.core.storage import Folder

R = TypeVar("R")
SHARD_ROWS = 32
PART_ROWS = 8 * SHARD_ROWS
MANY_SHARDS = 8192
SUM = "sum"  # of the rows' hashes, a part's share of its stage's digest
FOOTERS_AT_ONCE = 16  # on an object store each is a wait


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
    counts = {part: count for part, count, _ in _footers(folder.child("rows"))}
    size = rows_per_shard or shard_rows(sum(counts.values()))
    shards: list[Shard] = []
    for part, count in counts.items():
        for start in range(0, count, size):
            shards.append(Shard(len(shards), part, start, min(start + size, count)))
    return shards


def shard_rows(rows: int) -> int:
    """Larger shards for larger inputs: a driver has to hold something of each."""
    size = SHARD_ROWS
    while rows > MANY_SHARDS * size and size < PART_ROWS:
        size *= 2
    return size


def read_shard(folder: Folder, shard: Shard, kind: type[R]) -> list[R]:
    return folder.child("rows").read_records(shard.part, kind, shard.start, shard.stop)


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
        folder.child("dropped").write_records(shard.file, dropped, Dropped, _reasons(dropped))
    else:
        folder.child("dropped").remove(shard.file)  # what an earlier try of this shard may have left
    folder.child("rows").write_records(shard.file, rows, kind, {**(facts or {}), SUM: _sum(rows, kind)})


def write_rows(folder: Folder, made: Iterable[R | Dropped], kind: type[R], dropped: Sequence[Dropped] = ()) -> None:
    """All rows of a stage, as they are made, and what was dropped among them or before.

    Parts stay small: so a driver holds one, and a shard's reader reads little else.
    """
    number = 0
    part: list[R] = []
    lost: list[Dropped] = []
    for row in chain(dropped, made):
        if isinstance(row, Dropped):
            lost.append(row)
            continue
        part.append(row)
        if len(part) == PART_ROWS:
            write_shard(folder, Shard(number, "", 0, 0), part, kind, lost)
            number, part, lost = number + 1, [], []
    if part or lost or number == 0:
        write_shard(folder, Shard(number, "", 0, 0), part, kind, lost)


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


def totals(folder: Folder) -> Counter[str]:
    """The facts summed over all shards, e.g. the tokens that they cost."""
    found: Counter[str] = Counter()
    for _, _, facts in _footers(folder.child("rows")):
        found.update(facts)
    return found


def summary(folder: Folder, kind: type[R]) -> tuple[int, str, dict[str, int]]:
    """(rows, digest of their content, dropped rows by reason), from the parts' footers."""
    rows, count, hashes = folder.child("rows"), 0, 0
    for part, size, facts in _footers(rows):
        count += size
        hashes += facts[SUM] if SUM in facts else _sum(rows.read_records(part, kind), kind)  # one of before it was kept
    reasons: Counter[str] = Counter()
    dropped = folder.child("dropped")
    for part, _, facts in _footers(dropped):
        reasons.update(facts or _reasons(dropped.read_records(part, Dropped)))
    return count, digest_of_sum(hashes), dict(reasons)


def _reasons(dropped: Iterable[Dropped]) -> Counter[str]:
    return Counter(row.reason for row in dropped)


def _sum(rows: Iterable[R], kind: type[R]) -> int:
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return rows_sum({name: getattr(row, name) for name in names} for row in rows)


def _footers(files: Folder) -> Iterator[tuple[str, int, dict[str, int]]]:
    """(part, its rows, its facts) of all parts in order, a few at once."""
    parts = files.files(".parquet")
    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        for start in range(0, len(parts), PART_ROWS):
            some = parts[start : start + PART_ROWS]
            for part, (rows, facts) in zip(some, pool.map(files.read_footer, some), strict=True):
                yield part, rows, facts
