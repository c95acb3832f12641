"""Models and a judge that say what a test wants, by name, in this process (see generate.faculty)."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pipelines.core.progress import Progress
from pipelines.core.records import Completion
from pipelines.generate.pool import run_here
from pipelines.generate.teacher import Request, RequestFailed, TeacherId
from pipelines.generate.work import ShardRun
from pipelines.judge import self_check

Says = Callable[[Request], str]
RIGHT = {pair.model_said[0] for pair in self_check.pairs() if pair.category == self_check.KNOWN}
_FENCED = r"<{who} (\w+)>\n(.*?)\n</{who} \1>"


@dataclass
class Panel:
    """Who says what; `asked` is (name, request) in order. After `dies_after` requests nobody answers any more."""

    says: Mapping[str, Says]
    dies_after: int | None = None
    asked: list[tuple[str, Request]] = field(default_factory=list)

    def identity(self, name: str) -> TeacherId:
        return TeacherId(name, f"panel-{name}")

    def parameters(self, name: str) -> int | None:
        return 1000

    @asynccontextmanager
    async def warm(self, name: str) -> AsyncIterator["_Member"]:
        yield _Member(self, name)

    def over_shards(self, name: str, run: ShardRun, requests: int, progress: Progress) -> float:
        async def on_warm() -> None:
            async with self.warm(name) as member:
                await run_here(run, member, progress)

        asyncio.run(on_warm())
        return 0.0

    def of(self, name: str) -> list[Request]:
        return [request for who, request in self.asked if who == name]


@dataclass
class _Member:
    panel: Panel
    name: str
    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    async def write(self, request: Request) -> Completion:
        async with self.turn:
            if self.panel.dies_after is not None and len(self.panel.asked) >= self.panel.dies_after:
                raise ConnectionError("the engine is gone")
            self.panel.asked.append((self.name, request))
            await asyncio.sleep(0)
            text = self.panel.says[self.name](request)
        if text == "REFUSED":
            raise RequestFailed("refused, as the test wants")
        read = sum(len(turn.split()) for turn in (*request.earlier, request.prompt))
        return Completion(request.id, self.name, request.prompt, text, (), "stop", read, len(text.split()), seconds=0.5)


def shown(request: Request, who: str) -> list[str]:
    """What the judge is shown of this one's answers."""
    return [text for _, text in re.findall(_FENCED.format(who=who), request.prompt, re.DOTALL)]


def is_pair(request: Request) -> bool:
    return "You compare two assistants" in request.prompt


def judging(pair: Callable[[str, str], str], single: Callable[[str], str] = lambda _: "Fair.\n[[5]]") -> Says:
    """A judge by the last answers that it is shown."""

    def says(request: Request) -> str:
        if is_pair(request):
            return pair(shown(request, "assistant A")[-1], shown(request, "assistant B")[-1])
        return single(shown(request, "assistant")[-1])

    return says


def honest(a: str, b: str) -> str:
    """Knows the right answers of the self-check; elsewhere the one that says GOOD is better."""
    good = [text in RIGHT or "GOOD" in text for text in (a, b)]
    return f"Weighed.\n[[{'tie' if good[0] == good[1] else 'A' if good[0] else 'B'}]]"


def longer(a: str, b: str) -> str:
    return f"More.\n[[{'tie' if len(a) == len(b) else 'A' if len(a) > len(b) else 'B'}]]"


def numbered(text: str) -> str:
    return f"Weighed.\n[[{8 if text in RIGHT or 'GOOD' in text else 3}]]"
