"""Puts a benchmark's requests to one model, and keeps what it said: nothing is asked twice.

Knows the ledger, progress, and what asking cost. Does not know the harness.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from pipelines.core.errors import UserError
from pipelines.core.progress import Progress
from pipelines.core.records import Completion, Likelihood
from pipelines.core.stage import StageRun
from pipelines.generate.asking import Asking
from pipelines.generate.ledger import Ledger
from pipelines.generate.likelihood import LikelihoodRequest
from pipelines.generate.teacher import AnyRequest, Request
from pipelines.generate.usage import Usage, usage
from serving.faculty import ClusterFaculty

A = TypeVar("A", Completion, Likelihood)
AT_ONCE = 1024  # what is waited for is looked through with every answer, and a benchmark may have 100,000 requests


class Asker:
    """One model in one stage. `cost` is that of all that was asked through it, whenever it was bought."""

    def __init__(self, faculty: ClusterFaculty, model: str, stage: StageRun) -> None:
        self.teacher = faculty.identity(model)
        self._faculty, self._model, self._stage = faculty, model, stage
        self.cost = Usage()

    def ask(self, label: str, requests: Sequence[AnyRequest], kind: type[A]) -> dict[str, A]:
        """Every answer by its request's id. UserError where one is missing: a benchmark is whole, or it is another."""
        said = asyncio.run(self._said(label, requests, kind))
        self.cost += usage(requests, said)
        return said

    async def _said(self, label: str, requests: Sequence[AnyRequest], kind: type[A]) -> dict[str, A]:
        progress, counted = self._stage.progress, _Counted(self._stage.progress)
        asking: Asking[A] = Asking(counted, Ledger(self._stage.runs, self.teacher, kind))
        left = asking.unanswered(requests)
        progress.begin(label, len(asking.said) + len(left), len(asking.said), unit="requests")
        if left:
            async with self._faculty.warm(self._model) as counted.model:
                progress.ready()
                for start in range(0, len(left), AT_ONCE):
                    await asking.all(left[start : start + AT_ONCE])
        if asking.failed:
            raise UserError(
                f"{label}: {len(asking.failed):,} of {len(left):,} requests to {self._model} failed, and a benchmark "
                f"without them would be another one: {next(iter(asking.failed.values()))}. What was answered is kept; "
                "the same command asks for the rest"
            )
        return asking.said


class _Counted:
    """A model whose answers are counted as they come (see teacher.Teacher)."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.model: Any = None  # there once it is up

    async def write(self, request: Request) -> Completion:
        said: Completion = await self._count(request)
        return said

    async def likelihood(self, request: LikelihoodRequest) -> Likelihood:
        said: Likelihood = await self._count(request)
        return said

    async def _count(self, request: AnyRequest) -> Any:
        said = await request.put_to(self.model)
        self._progress.advance(1, usage([request], {request.id: said}).tokens)
        return said
