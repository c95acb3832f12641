"""The ledger: what a teacher said or scored is never bought twice.

Knows one folder of part files per (teacher, kind of record) under the runs folder, shared by all stages and
runs. A part's name holds its records' ids, so that a listing is the whole index: a worker that starts reads no part
that it does not need. Readers keep the first copy of an id, so a part written twice by a retried worker does no harm.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Generic, TypeVar

from pipelines.core.records import Completion, Influence, Likelihood, SoftTargets
from pipelines.core.storage import Folder
from pipelines.generate.teacher import TeacherId

R = TypeVar("R", Completion, SoftTargets, Influence, Likelihood)
# How the folders' names begin.
SHARED: dict[type, str] = {
    Completion: "replies-",
    SoftTargets: "signals-",
    Influence: "influences-",
    Likelihood: "logprobs-",
}
IDS_PER_PART = 12  # a file's name may have 255 characters


class Ledger(Generic[R]):
    """All records of one kind from one teacher, by id. One instance per process; the folder is listed once."""

    def __init__(self, runs: Folder, teacher: TeacherId, kind: type[R]) -> None:
        self.folder = runs.child(f"{SHARED[kind]}{teacher.digest[:16]}")
        self._kind: type[R] = kind
        self._recent: dict[str, R] = {}

    def find(self, ids: Iterable[str]) -> dict[str, R]:
        """The records that are there among `ids`."""
        wanted = set(ids)
        found = {id: self._recent[id] for id in wanted if id in self._recent}
        by_part: dict[str, set[str]] = {}
        for id in wanted - found.keys():
            if id in self._where:
                by_part.setdefault(self._where[id], set()).add(id)
        for part, its in by_part.items():
            for record in self.folder.read_records(part, self._kind):
                if record.id in its:
                    found.setdefault(record.id, record)
        return found

    def add(self, records: Sequence[R]) -> None:
        """Commit records. They are safe when this returns."""
        for start in range(0, len(records), IDS_PER_PART):
            self._add_part(records[start : start + IDS_PER_PART])

    def _add_part(self, records: Sequence[R]) -> None:
        name = _part_of(record.id for record in records)
        self.folder.write_records(name, list(records), self._kind)
        for record in records:
            if self._where.setdefault(record.id, name) == name:
                self._recent[record.id] = record

    def forget_recent(self, ids: Iterable[str]) -> None:
        """Let go of records that were settled; they stay on disk."""
        for id in ids:
            self._recent.pop(id, None)

    @cached_property
    def _where(self) -> dict[str, str]:
        """id -> part. What was there at first use, and what this process added; others work on other shards."""
        where: dict[str, str] = {}
        for part in self.folder.files(".parquet"):
            for id in _ids_of(part):
                where.setdefault(id, part)
        return where


def _part_of(ids: Iterable[str]) -> str:
    return f"part-{'-'.join(sorted(ids))}.parquet"


def _ids_of(part: str) -> list[str]:
    return part.removeprefix("part-").removesuffix(".parquet").split("-")
