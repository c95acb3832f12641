"""The teacher pool: a Ray Data actor pool that runs shards next to an engine each.

Knows Ray Data. Does not know what a shard asks or which engine answers. Each actor takes several shards at
once, so the engine's batch stays full while a shard's long rows finish; every shard commits its own parts, and
only small counts travel back.
"""

import asyncio
import time
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, replace
from typing import Any

from cluster.session import quiet_logs
from pipelines.core.config import Pool
from pipelines.core.parts import Shard
from pipelines.core.progress import Progress
from pipelines.generate.teacher import Teacher
from pipelines.generate.work import ShardRun, ShardWorker

SHARDS_AT_ONCE = 4
MakeTeacher = Callable[[], Teacher]


def run_on_pool(run: ShardRun, make: MakeTeacher, pool: Pool, resources: dict[str, Any], progress: Progress) -> float:
    """Run all shards; returns the seconds until the first one was under way (engine start-up)."""
    import ray.data
    from ray.util.annotations import RayDeprecationWarning

    ray.data.DataContext.get_current().enable_progress_bars = False  # ours is shown instead
    quiet_logs()
    began = time.time()
    items = [asdict(shard) for shard in run.shards]
    with warnings.catch_warnings():
        # Ray Data deprecates unnamed remote arguments, and has no named one for max_concurrency yet.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        shards = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            PoolActor,
            fn_constructor_args=(replace(run, shards=()), make),  # small, so that a restarted actor still finds them
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(
                min_size=pool.min, max_size=pool.max, max_tasks_in_flight_per_actor=2 * SHARDS_AT_ONCE
            ),
            max_concurrency=SHARDS_AT_ONCE,
            **resources,
        )
    ready_at = None
    for row in shards.iter_rows():
        if ready_at is None:
            ready_at = row["ready_at"]
            progress.ready(time.time() - ready_at)
        progress.advance(row["rows"], row["tokens"])
    return (ready_at or time.time()) - began


class PoolActor:
    """One Ray Data actor: one teacher, several shards at once."""

    def __init__(self, run: ShardRun, make: MakeTeacher) -> None:
        self._worker: ShardWorker[Any] = ShardWorker(run, make())
        self._ready_at = time.time()

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, list[Any]]]:
        shard = Shard(int(batch["number"][0]), str(batch["part"][0]), int(batch["start"][0]), int(batch["stop"][0]))
        done = await self._worker.do(shard)
        yield {name: [value] for name, value in {**asdict(done), "ready_at": self._ready_at}.items()}


async def run_here(run: ShardRun, teacher: Teacher, progress: Progress) -> None:
    """Run all shards in this process, against a teacher that takes many requests at once.

    Several lanes take the next shard as soon as they are free, so one shard's long rows hold up no other.
    """
    worker: ShardWorker[Any] = ShardWorker(run, teacher)
    shards = iter(run.shards)

    async def lane() -> None:
        for shard in shards:
            done = await worker.do(shard)
            progress.advance(done.rows, done.tokens)

    lanes = [asyncio.ensure_future(lane()) for _ in range(SHARDS_AT_ONCE)]
    try:
        await asyncio.gather(*lanes)
    finally:
        for task in lanes:
            task.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
