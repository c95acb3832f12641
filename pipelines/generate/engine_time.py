"""What a pool's engines did with their seconds: starting, busy, or ready with nothing to do.

Knows one small file per life of an actor, in the stage's folder, which the actor writes again every few seconds: a
killed one loses no more than those. Does not know what is asked.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipelines.core.records import Completion, Influence, SoftTargets
from pipelines.core.storage import Folder
from pipelines.generate.teacher import AnyRequest, Measured, Request, ScoreRequest

EVERY_S = 5.0


@dataclass(frozen=True)
class EngineTime:
    """Seconds, summed over engines. Busy: at least one request under way; idle: up, and none."""

    starting: float = 0.0
    busy: float = 0.0
    idle: float = 0.0

    def __add__(self, other: "EngineTime") -> "EngineTime":
        return EngineTime(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Clock:
    """One engine's seconds, from the moment it is up. Threads may share it."""

    def __init__(self, starting_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._starting_s, self._now = starting_s, now
        self._up_at = self._busy_since = now()
        self._busy_s, self._under_way = 0.0, 0
        self._lock = threading.Lock()

    @contextmanager
    def request(self) -> Iterator[None]:
        """A request is under way inside."""
        with self._lock:
            if self._under_way == 0:
                self._busy_since = self._now()
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                if self._under_way == 0:
                    self._busy_s += self._now() - self._busy_since

    def read(self) -> EngineTime:
        with self._lock:
            now = self._now()
            busy = self._busy_s + (now - self._busy_since if self._under_way else 0.0)
            return EngineTime(self._starting_s, busy, now - self._up_at - busy)


class Clocked:
    """Another teacher, or a probe, whose requests are on the clock (see teacher.Teacher)."""

    def __init__(self, teacher: Any, clock: Clock) -> None:
        self._teacher, self._clock = teacher, clock

    async def write(self, request: Request) -> Completion:
        said: Completion = await self._timed(request)
        return said

    async def score(self, request: ScoreRequest) -> SoftTargets:
        said: SoftTargets = await self._timed(request)
        return said

    async def influence(self, request: Measured) -> Influence:
        said: Influence = await self._timed(request)
        return said

    async def _timed(self, request: AnyRequest) -> Any:
        with self._clock.request():
            return await request.put_to(self._teacher)


def keep(clock: Clock, folder: Folder, life: str, sleep: Callable[[float], None] = time.sleep) -> Callable[[], None]:
    """Write this life's seconds down, from now on until the process ends; what is returned does so at once."""

    def note() -> None:
        folder.write_json(f"{life}.json", asdict(clock.read()))

    def again() -> None:
        while True:
            sleep(EVERY_S)
            note()

    note()
    threading.Thread(target=again, daemon=True, name="engine-time").start()
    return note


def facts(folder: Folder) -> dict[str, dict[str, float]]:
    """A manifest's `engine_seconds`, over all lives, whichever driver had them; nothing where no pool was used."""
    lives = [EngineTime(**folder.read_json(name)) for name in folder.files(".json")]
    total = asdict(sum(lives, EngineTime()))
    return {"engine_seconds": {name: round(value, 1) for name, value in total.items()}} if lives else {}
