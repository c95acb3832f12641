"""One process's probe: asked by many at once, it takes rows in turn, a handful at a time.

Knows when the restored student has to be looked at. Does not know how a probe measures, or who asks: an
actor of a pool, or a replica behind an address. A handful is what waits when the one before is done. Where weights were
moved for it, nothing of it is told before the restored weights have given the loss that they gave at first: so no score
is ever void.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.core.records import Dropped, Influence
from pipelines.influence.gang import Gang
from pipelines.influence.job import ProbeJob
from pipelines.influence.work import InfluenceRequest, Unfit


@dataclass
class _Handful:
    requests: list[InfluenceRequest] = field(default_factory=list)
    told: "asyncio.Task[dict[str, Influence | Dropped]] | None" = None


class Prober:
    """See work.Measuring. Ready when it is made."""

    def __init__(self, job: ProbeJob) -> None:
        self._probe = Gang(job) if job.config.shards > 1 else job.probe()
        self._most = job.config.check_every
        self._thread = ThreadPoolExecutor(max_workers=1)  # the weights are moved by one at a time
        self._turn, self._next = asyncio.Lock(), _Handful()
        self.stirred_at = time.monotonic()  # see generate.patience

    async def influence(self, request: InfluenceRequest) -> Influence:
        """Raises Unfit where the row is to blame, and BaselineMoved where nothing can be measured any more."""
        mine = self._next
        mine.requests.append(request)
        if mine.told is None:
            mine.told = asyncio.ensure_future(self._measured(mine))
        if len(mine.requests) == self._most:
            self._next = _Handful()
        found = (await asyncio.shield(mine.told))[request.id]  # who asked may leave; others wait for the same handful
        if isinstance(found, Dropped):
            raise Unfit(found.reason, found.detail)
        return found

    async def _measured(self, handful: _Handful) -> dict[str, Influence | Dropped]:
        async with self._turn:
            if self._next is handful:  # nobody joins any more
                self._next = _Handful()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._in_turn, tuple(handful.requests))

    def _in_turn(self, requests: Sequence[InfluenceRequest]) -> dict[str, Influence | Dropped]:
        found: dict[str, Any] = {}
        for request in requests:
            one = self._probe.influence(request.example, request.method)
            found[request.id] = one if isinstance(one, Dropped) else replace(one, id=request.id)
            self.stirred_at = time.monotonic()
        if any(request.method == "exact" for request in requests):
            self._probe.check()
        return found
