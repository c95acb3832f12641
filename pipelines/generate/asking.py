"""Ask a teacher many things at once, and lose nothing of what it said.

Knows the ledger and requests. Does not know rows, shards or rounds.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

from pipelines.core.records import Completion, Influence, Likelihood, SoftTargets
from pipelines.generate.ledger import Ledger
from pipelines.generate.teacher import AnyRequest, RequestFailed

A = TypeVar("A", Completion, SoftTargets, Influence, Likelihood)
FLUSH_ROWS = 8  # records per ledger part: what a killed process can lose
FLUSH_SECONDS = 10.0


class Asking(Generic[A]):
    """Requests under way. `said` and `failed` fill up by request id; `bought` is what the ledger did not have."""

    def __init__(self, teacher: Any, ledger: Ledger[A]) -> None:
        self._teacher = teacher
        self._ledger: Ledger[A] = ledger
        self.said: dict[str, A] = {}
        self.failed: dict[str, RequestFailed] = {}
        self.bought: list[A] = []

    async def all(self, requests: Sequence[AnyRequest]) -> None:
        """Ask everything that the ledger does not have; whatever ends this early, what had come is in the ledger."""
        tasks = {asyncio.ensure_future(self._one(r)) for r in self.unanswered(requests)}
        try:
            await self._save_as_they_come(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def unanswered(self, requests: Iterable[AnyRequest]) -> list[AnyRequest]:
        """Those that must be asked, each once; what the ledger has of the others is now in `said`."""
        new = {r.id: r for r in requests if r.id not in self.said}
        self.said.update(self._ledger.find(new))
        return [r for id, r in new.items() if id not in self.said]

    async def _save_as_they_come(self, pending: set[asyncio.Task[A | None]]) -> None:
        unsaved: list[A] = []
        last = time.monotonic()
        try:
            while pending:
                finished, pending = await asyncio.wait(
                    pending, timeout=FLUSH_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                lost = [task for task in finished if task.exception() is not None]
                unsaved += [r for task in finished - set(lost) if (r := task.result()) is not None]
                if lost:
                    lost[0].result()
                if len(unsaved) >= FLUSH_ROWS or time.monotonic() - last >= FLUSH_SECONDS:
                    self._save(unsaved)
                    unsaved, last = [], time.monotonic()
        finally:
            self._save(unsaved)

    def _save(self, records: Sequence[A]) -> None:
        if records:
            self._ledger.add(records)
            self.said.update({record.id: record for record in records})
            self.bought += records

    async def _one(self, request: AnyRequest) -> A | None:
        try:
            said: Any = await request.put_to(self._teacher)
        except RequestFailed as error:
            self.failed[request.id] = error
            return None
        answer: A = said
        return answer
