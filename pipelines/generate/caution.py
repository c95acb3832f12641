"""How a pool's actor asks for its rows, so that a death is charged to few of them and, in the end, to the right one.

Knows how often each row was seen in a death, from the journal. A row that was not seen in any is asked with everything
else; one that was seen in one death with a few others that were; in two deaths, alone; in three, not any more.
With n suspects, a few are √n: then the least has to be asked one after another until the one to blame is found.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pipelines.core.parts import Shard
from pipelines.core.storage import Folder
from pipelines.generate.asking import Asking
from pipelines.generate.journal import Lives, ShardJournal
from pipelines.generate.teacher import AnyRequest, KilledEngine

TOO_MANY_DEATHS = 3


class Caution:
    """Asks for several shards' rows at once, in one process (see work.Ask)."""

    def __init__(self, folder: Folder, attempt: str, lives: Lives) -> None:
        self._folder, self._attempt, self._lives = folder, attempt, lives
        self._gate = Gate()

    async def ask(self, shard: Shard, asked: Mapping[str, Sequence[AnyRequest]], asking: Asking[Any]) -> None:
        missing = {row: asking.unanswered(its) for row, its in asked.items()}
        rows = [row for row, its in missing.items() if its]
        journal = ShardJournal(self._folder, shard, self._attempt, rows)
        for row in rows:
            if journal.deaths.get(row, 0) >= TOO_MANY_DEATHS:
                error = KilledEngine(
                    f"its engine died or fell silent {TOO_MANY_DEATHS} times over it, at last over it alone"
                )
                asking.failed.update({request.id: error for request in missing[row]})
        for deaths, company in companies(rows, journal.deaths):
            async with self._gate.alone() if deaths else self._gate.together():
                journal.under_way(company)
                await asking.all([request for row in company for request in missing[row]])
                if deaths:  # while others are alone, these must not seem to be under way
                    journal.under_way(())
            if asking.bought:
                self._lives.bore_fruit()


def companies(rows: Sequence[str], deaths: Mapping[str, int]) -> Iterator[tuple[int, list[str]]]:
    """(deaths, rows that are asked at once), the least suspect first: they are answered whatever the others do."""
    fresh = [row for row in rows if row not in deaths]
    if fresh:
        yield 0, fresh
    once = [row for row in rows if deaths.get(row) == 1]
    size = math.isqrt(len(once)) or 1
    for start in range(0, len(once), size):
        yield 1, once[start : start + size]
    for row in rows:
        if deaths.get(row) == 2:
            yield 2, [row]


class Gate:
    """Many inside together, or one alone. Nobody overtakes whoever waits to be alone."""

    def __init__(self) -> None:
        self._door, self._empty, self._inside = asyncio.Lock(), asyncio.Event(), 0
        self._empty.set()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        async with self._door:
            self._inside += 1
            self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if self._inside == 0:
                self._empty.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        async with self._door:
            await self._empty.wait()
            yield
