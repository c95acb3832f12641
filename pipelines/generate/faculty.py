"""Where teachers run, as stages see it, and a row-wise stage over one of them, or over what else can be asked.

Knows shards and the teachers' names. Does not know engines, actors or endpoints: `serving.faculty` has them.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from pipelines.core.parts import committed_files, cut, summary, totals
from pipelines.core.progress import Progress
from pipelines.core.stage import Outcome, StageRun
from pipelines.core.storage import Folder
from pipelines.generate import engine_time
from pipelines.generate.teacher import Teacher, TeacherId
from pipelines.generate.usage import Usage
from pipelines.generate.work import ENGINES, ShardRun, Work


class Faculty(Protocol):
    """Where teachers run. Maker: `serving.faculty`. The stages ask it and start nothing themselves."""

    def identity(self, name: str) -> TeacherId: ...

    def warm(self, name: str) -> AbstractAsyncContextManager[Teacher]:
        """The teacher that stays up for the whole run: for rounds and small stages."""
        ...

    def over_shards(self, name: str, run: ShardRun, requests: int, progress: Progress) -> float:
        """Run every shard on the warm teacher or, from `bulk_from` requests, on the pool.

        Returns the seconds of start-up. Progress counts the shards' rows as they finish.
        """
        ...


OverShards = Callable[[ShardRun, int], float]  # (what is to be done, its rows) -> seconds of start-up


def run_rows(work: Work[Any], faculty: Faculty, teacher: str, stage: str, source: Folder, run: StageRun) -> Outcome:
    """A whole row-wise stage that asks a teacher."""

    def over_shards(job: ShardRun, rows: int) -> float:
        return faculty.over_shards(teacher, job, rows, run.progress)

    return run_shards(work, faculty.identity(teacher), stage, source, run, over_shards)


def run_shards(
    work: Work[Any], asked: TeacherId, stage: str, source: Folder, run: StageRun, over_shards: OverShards
) -> Outcome:
    """Run a whole row-wise stage: the shards that are not committed yet, then its summary."""
    shards = cut(source)
    committed = committed_files(run.folder)
    todo = tuple(shard for shard in shards if shard.file not in committed)
    everything = sum(s.stop - s.start for s in shards)
    left = sum(s.stop - s.start for s in todo)
    start_up = 0.0
    run.progress.begin(stage, everything, everything - left)
    if todo:
        job = ShardRun(work, stage, asked, source, run.folder, run.runs, todo)
        start_up = over_shards(job, left)
        job.journal().delete()
    rows, digest, dropped = summary(run.folder, work.writes)
    cost = Usage.of(totals(run.folder))
    facts = {
        "teacher": asked.name,
        "teacher_digest": asked.digest,
        **cost.facts(),
        **engine_time.facts(run.folder.child(ENGINES)),
    }
    return Outcome(rows, digest, dropped, cost.prompt_tokens, cost.output_tokens, start_up, facts)
