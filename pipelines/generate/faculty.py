"""Where teachers run, as stages see it, and a row-wise stage over one of them.

Knows shards and the teachers' names. Does not know engines, actors or endpoints: `serving.faculty` has them.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import fields
from typing import Any, Protocol

from pipelines.core.parts import committed_files, cut, summary, total
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


def run_rows(work: Work[Any], faculty: Faculty, teacher: str, stage: str, source: Folder, run: StageRun) -> Outcome:
    """Run a whole row-wise stage: the shards that are not committed yet, then its summary."""
    shards = cut(source)
    committed = committed_files(run.folder)
    todo = tuple(shard for shard in shards if shard.file not in committed)
    everything = sum(s.stop - s.start for s in shards)
    left = sum(s.stop - s.start for s in todo)
    start_up = 0.0
    identity = faculty.identity(teacher)
    run.progress.begin(stage, everything, everything - left)
    if todo:
        job = ShardRun(work, stage, identity, source, run.folder, run.runs, todo)
        start_up = faculty.over_shards(teacher, job, left, run.progress)
        job.journal().delete()
    rows, digest, dropped = summary(run.folder, work.writes)
    cost = Usage(*(total(run.folder, part.name) for part in fields(Usage)))
    facts = {
        "teacher": teacher,
        "teacher_digest": identity.digest,
        **cost.facts(),
        **engine_time.facts(run.folder.child(ENGINES)),
    }
    return Outcome(rows, digest, dropped, cost.prompt_tokens, cost.output_tokens, start_up, facts)
