"""A teacher that nobody waits for for ever.

Knows silence: the teacher has answered nothing at all for a while, though it was asked. Silence is the whole teacher's
and not one request's: a request may have to wait in the teacher's own queue, for as long as others are answered. So a
request that is lost is noticed when the others are through.
"""

import asyncio
import time
from typing import Any

from pipelines.core.records import Completion, Influence, Likelihood, SoftTargets
from pipelines.generate.teacher import AnyRequest, Measured, Request, RequestFailed, ScoreRequest, TeacherGone, TimedOut

TRIES = 3


class Patient:
    """Another teacher, or a probe, whose requests are let go of after `silence_s` of silence and asked again, `tries`
    times in all.

    `gone` is what is raised then: TimedOut costs the request, TeacherGone the process.
    """

    def __init__(
        self, teacher: Any, silence_s: float, tries: int = TRIES, gone: type[TimedOut | TeacherGone] = TimedOut
    ) -> None:
        self._teacher, self._silence_s, self._tries, self._gone = teacher, silence_s, tries, gone
        self._heard_at = time.monotonic()

    async def write(self, request: Request) -> Completion:
        said: Completion = await self._patiently(request)
        return said

    async def score(self, request: ScoreRequest) -> SoftTargets:
        said: SoftTargets = await self._patiently(request)
        return said

    async def influence(self, request: Measured) -> Influence:
        said: Influence = await self._patiently(request)
        return said

    async def likelihood(self, request: Measured) -> Likelihood:
        said: Likelihood = await self._patiently(request)
        return said

    @property
    def _stirred_at(self) -> float:
        """When the teacher last did anything, where it tells: an engine works long before its first answer is ready."""
        return getattr(self._teacher, "stirred_at", 0.0)

    async def _patiently(self, request: AnyRequest) -> Any:
        for _ in range(self._tries):
            answer = asyncio.ensure_future(request.put_to(self._teacher))
            try:
                if await self._comes(answer):
                    return answer.result()
            finally:
                answer.cancel()
        often = f", asked {self._tries} times" if self._tries > 1 else ""
        raise self._gone(f"the teacher answered nothing for {self._silence_s:g} s (its watchdog_s){often}")

    async def _comes(self, answer: "asyncio.Future[Any]") -> bool:
        """Whether the answer, or the refusal, comes before silence has lasted too long."""
        sent_at = time.monotonic()
        while (left := max(sent_at, self._heard_at, self._stirred_at) + self._silence_s - time.monotonic()) > 0:
            await asyncio.wait([answer], timeout=left)
            if answer.done():
                if answer.exception() is None or isinstance(answer.exception(), RequestFailed):
                    self._heard_at = time.monotonic()
                return True
        return False
