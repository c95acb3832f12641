"""The teacher pool: a Ray Data actor pool that runs shards next to an engine each.

Knows Ray Data. Does not know what a shard asks or which engine answers. Each actor takes several shards at
once, so the engine's batch stays full while a shard's long rows finish; every shard commits its own parts, and
only small counts travel back. Ray starts dead actors and what they were doing again without end; what ends that is
the journal (`caution.py` for rows, `journal.Lives` for actors).
"""

import asyncio
import math
import os
import sys
import threading
import time
import traceback
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, NoReturn

from cluster.session import quiet_logs
from pipelines.core.config import Pool
from pipelines.core.errors import Unreachable, UserError
from pipelines.core.parts import Shard
from pipelines.core.progress import Progress
from pipelines.generate.caution import Caution
from pipelines.generate.engine_time import Clock, Clocked, keep
from pipelines.generate.journal import Lives
from pipelines.generate.patience import Patient
from pipelines.generate.teacher import TeacherGone
from pipelines.generate.work import ShardDone, ShardRun, ShardWorker

SHARDS_AT_ONCE = 4
ENDS = (UserError, Unreachable)  # what ends a run in words
START_UP_S = 3600.0  # an engine that takes longer to start hangs
MakeTeacher = Callable[[], Any]  # a Teacher, or what else can be asked: a probe


def run_on_pool(
    run: ShardRun, make: MakeTeacher, pool: Pool, resources: dict[str, Any], progress: Progress, watchdog_s: float
) -> float:
    """Run all shards; returns the seconds until the first one was under way (engine start-up).

    Raises RuntimeError where the engines cannot be kept alive, and what ends a run in words wherever that comes up.
    """
    import ray.data
    from ray.exceptions import RayActorError
    from ray.util.annotations import RayDeprecationWarning

    _set_up_ray_data(ray.data.DataContext.get_current())
    quiet_logs()
    began = time.monotonic()
    items = [asdict(shard) for shard in run.shards]
    with warnings.catch_warnings():
        # Ray Data deprecates unnamed remote arguments, and has no named one for max_concurrency yet.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        shards = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            PoolActor,
            # Small, so that a restarted actor still finds them.
            fn_constructor_args=(replace(run, shards=()), make, watchdog_s, uuid.uuid4().hex),
            batch_size=1,
            # None waits in an actor's own queue, where a free actor could not take it.
            compute=ray.data.ActorPoolStrategy(
                size=wanted_actors(pool, len(items)), max_tasks_in_flight_per_actor=SHARDS_AT_ONCE
            ),
            max_concurrency=SHARDS_AT_ONCE,
            **resources,
        )
    start_up = None
    try:
        for row in shards.iter_rows():
            if row["why"]:
                raise ENDS[row["ends"]](row["why"])
            if start_up is None:
                start_up = time.monotonic() - began - row["ready_s"]
                progress.ready(row["ready_s"])
            progress.advance(row["rows"], row["tokens"])
    except RayActorError as error:
        why = str(error).strip().rsplit("\n", 1)[-1]  # above it stands the actor's traceback
        raise RuntimeError(f"the pool of teacher {run.teacher.name!r} gave up: {why}") from error
    return time.monotonic() - began if start_up is None else start_up


def wanted_actors(pool: Pool, shards: int) -> int:
    """As many as these shards can keep busy, within the pool's bounds. Ray Data lets go of each that has no more to do.

    All are asked for at once, and those for which there is no room yet wait: what waits is what an autoscaler starts
    nodes for. Ray Data's own growth would stop at the nodes that are there.
    """
    return max(pool.min, min(pool.max, math.ceil(shards / SHARDS_AT_ONCE)))


def _set_up_ray_data(context: Any) -> None:
    context.enable_progress_bars = False  # ours is shown instead
    context.execution_no_progress_timeout_s = -1  # a shard may take hours; the watchdog knows better


class PoolActor:
    """One Ray Data actor: one teacher, several shards at once. `attempt` names the driver that wants it."""

    def __init__(self, run: ShardRun, make: MakeTeacher, watchdog_s: float, attempt: str) -> None:
        import ray

        context = ray.get_runtime_context()
        lives = Lives(run.journal(), context.get_actor_id())
        lives.begin("an engine")
        began = time.monotonic()
        with _starting(again=context.was_current_actor_reconstructed):
            teacher = Patient(make(), watchdog_s, tries=1, gone=TeacherGone)
        clock = Clock(starting_s=time.monotonic() - began)
        self._note_time = keep(clock, run.engines(), life=uuid.uuid4().hex)
        asked = Clocked(teacher, clock)
        self._worker: ShardWorker[Any] = ShardWorker(run, asked, Caution(run.journal(), attempt, lives).ask)
        self._ready = time.monotonic()

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, list[Any]]]:
        shard = Shard(int(batch["number"][0]), str(batch["part"][0]), int(batch["start"][0]), int(batch["stop"][0]))
        done, ends, why = ShardDone(0, 0), 0, ""
        try:
            done = await self._worker.do(shard)
            self._note_time()
        except TeacherGone as error:
            _end_process(str(error))
        except ENDS as error:  # told and not raised: Ray Data would make a page of it
            ends, why = next(n for n, kind in enumerate(ENDS) if isinstance(error, kind)), str(error)
        ready_s = time.monotonic() - self._ready  # and not a time: the driver has another clock
        told = {**asdict(done), "ready_s": ready_s, "ends": ends, "why": why}
        yield {name: [value] for name, value in told.items()}


@contextmanager
def _starting(again: bool) -> Iterator[None]:
    """Ends the process where an engine takes too long to start, or failed to start `again`.

    The first time an error is the recipe's or the machine's, and the user is told at once. Later it may pass: the dead
    engine's memory on the GPU may not be free yet.
    """
    timer = threading.Timer(START_UP_S, _end_process, [f"the engine did not start in {START_UP_S:g} s"])
    timer.daemon = True
    timer.start()
    started = False
    try:
        yield
        started = True
    finally:
        timer.cancel()
        if again and not started:
            traceback.print_exc()
            _end_process("the engine did not start again")


def _end_process(why: str) -> NoReturn:
    """An actor's only way out of a dead engine: Ray starts it anew, and retries its shards."""
    print(f"this actor ends itself: {why}", file=sys.stderr, flush=True)
    os._exit(1)


async def run_here(run: ShardRun, teacher: Any, progress: Progress) -> None:
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
