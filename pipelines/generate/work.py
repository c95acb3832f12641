"""One shard of a row-wise stage: read, ask for what is missing, commit, settle.

Knows shards, the ledger and requests. Does not know where the teacher runs: the same code is called
in the driver with the warm teacher and inside the pool's actors. A row may be asked for several samples; one whose
request fails becomes Dropped, and the row's others go on.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, Protocol, TypeVar

from pipelines.core.parts import Shard, has_shard, read_shard, write_shard
from pipelines.core.records import Dropped
from pipelines.core.storage import Folder
from pipelines.generate.asking import Asking
from pipelines.generate.ledger import Ledger
from pipelines.generate.teacher import AnyRequest, TeacherId
from pipelines.generate.usage import usage

Row = TypeVar("Row")
ENGINES = "engines"


class Work(Protocol[Row]):
    """What a row-wise stage does to its rows: pure functions around the teacher. Must pickle."""

    reads: type[Row]
    writes: type[Any]
    bought: type[Any]  # Completion, SoftTargets or Influence

    def requests(self, row: Row) -> Sequence[AnyRequest]:
        """What to ask the teacher for this row: one request per sample."""
        ...

    def settle(self, row: Row, said: Sequence[Any]) -> Sequence[Any]:
        """The finished records and Dropped rows, out of what was said to each request; None where one failed."""
        ...


@dataclass(frozen=True)
class ShardDone:
    """One committed shard. `tokens` counts what was asked of the teacher now, not what was there."""

    rows: int
    tokens: int


@dataclass(frozen=True)
class ShardRun:
    """A row-wise stage's shards: everything that a worker needs, and nothing that it must not have."""

    work: Work[Any]
    stage: str
    teacher: TeacherId
    source: Folder
    target: Folder
    runs: Folder
    shards: tuple[Shard, ...]

    def ledger(self) -> Ledger[Any]:
        return Ledger(self.runs, self.teacher, self.work.bought)

    def journal(self) -> Folder:
        """Where the pool's actors write down what is under way; it goes when the stage is finished."""
        return self.target.child("journal")

    def engines(self) -> Folder:
        """Where they write down their seconds."""
        return self.target.child(ENGINES)


Asked = Mapping[str, Sequence[AnyRequest]]  # row id -> what is asked for it
Ask = Callable[[Shard, Asked, Asking[Any]], Awaitable[None]]


async def all_at_once(shard: Shard, asked: Asked, asking: Asking[Any]) -> None:
    """The plain way to ask for a shard's rows (the pool's way is caution.Caution)."""
    await asking.all([request for its in asked.values() for request in its])


class ShardWorker(Generic[Row]):
    """Does shards, one after another or several at once, in one process."""

    def __init__(self, run: ShardRun, teacher: Any, ask: Ask = all_at_once) -> None:
        self._run, self._teacher, self._ask, self._ledger = run, teacher, ask, run.ledger()

    async def do(self, shard: Shard) -> ShardDone:
        """Do one shard; a shard that is already committed costs nothing."""
        run = self._run
        if has_shard(run.target, shard):  # what is retried may have been finished
            return ShardDone(shard.stop - shard.start, 0)
        rows = read_shard(run.source, shard, run.work.reads)
        asked = {row.id: run.work.requests(row) for row in rows}
        requests = [request for its in asked.values() for request in its]
        asking: Asking[Any] = Asking(self._teacher, self._ledger)
        await self._ask(shard, asked, asking)
        kept: list[Any] = []
        dropped: list[Dropped] = []
        for row in rows:
            its = asked[row.id]
            for n, request in enumerate(its):
                if (error := asking.failed.get(request.id)) is not None:
                    dropped.append(Dropped(sample_id(row.id, n), run.stage, error.reason, _text(row), str(error)))
            for record in run.work.settle(row, [asking.said.get(request.id) for request in its]):
                (dropped if isinstance(record, Dropped) else kept).append(record)
        write_shard(run.target, shard, kept, run.work.writes, dropped, asdict(usage(requests, asking.said)))
        self._ledger.forget_recent(r.id for r in requests)
        bought = {record.id: record for record in asking.bought}
        return ShardDone(len(rows), usage(requests, bought).tokens)


def sample_id(row_id: str, sample: int) -> str:
    """The id of one sample that was dropped: its row's, and which one it is where that is not the first."""
    return f"{row_id}.{sample}" if sample else row_id


def _text(row: Any) -> str:
    return str(getattr(row, "text", ""))
