"""Engines that die: who was under way is written down, and only the row that kills them is dropped.

Actors are played in this process: a life ends where the teacher says that it is gone.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines.core import parts
from pipelines.core.config import Answers
from pipelines.core.records import Answer, Completion, Instruction, SoftTargets
from pipelines.core.storage import Folder
from pipelines.generate.answers import AnswerWork
from pipelines.generate.caution import Caution, Gate, companies
from pipelines.generate.journal import FRUITLESS_LIVES, Lives, ShardJournal
from pipelines.generate.teacher import Request, ScoreRequest, Teacher, TeacherGone
from pipelines.generate.work import ShardRun, ShardWorker

if TYPE_CHECKING:
    from tests.conftest import FakeFaculty

ROWS = parts.SHARD_ROWS + 16
SHARD = parts.Shard(3, "part-000000.parquet", 0, 4)


class Mortal:
    """A teacher that is gone as soon as it is asked `poison`, or has answered `answers`."""

    def __init__(self, teacher: Teacher, poison: str | None = None, answers: int = 10**9) -> None:
        self._teacher, self._poison, self._left = teacher, poison, answers
        self.asked: list[str] = []

    async def write(self, request: Request) -> Completion:
        self.asked.append(request.prompt)
        if request.prompt == self._poison or self._left == 0:
            raise TeacherGone("killed")
        self._left -= 1
        return await self._teacher.write(request)

    async def score(self, request: ScoreRequest) -> SoftTargets:
        raise NotImplementedError


class Stage:
    """Answers to ROWS instructions, in the lives of one actor."""

    def __init__(self, faculty: "FakeFaculty", runs: Folder, name: str, samples: int = 1) -> None:
        self.folder, self.faculty = runs.child(name), faculty
        tasks = [Instruction(f"i{n}", f"List {n} rivers.", "", "seed", "train", (), "", "") for n in range(ROWS)]
        parts.write_rows(runs.child("source"), tasks, Instruction)
        teacher = faculty.identity("main")
        work = AnswerWork("answers", Answers(teacher="main", samples=samples), teacher)
        shards = tuple(parts.cut(runs.child("source")))
        self.run = ShardRun(work, "answers", teacher, runs.child("source"), self.folder, runs, shards)

    def live(self, poison: str | None = None, answers: int = 10**9, driver: str = "driver") -> tuple[bool, list[str]]:
        """One life: (whether it was the last, what the teacher was asked)."""

        async def until_the_end() -> tuple[bool, list[str]]:
            async with self.faculty.warm("main") as teacher:
                mortal = Mortal(teacher, poison, answers)
                lives = Lives(self.run.journal(), "actor")
                lives.begin("the engine")
                worker = ShardWorker(self.run, mortal, Caution(self.run.journal(), driver, lives).ask)
                tasks = [asyncio.ensure_future(worker.do(shard)) for shard in self.run.shards]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                for task in tasks:
                    task.cancel()
                errors = [e for e in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(e, Exception)]
                assert all(isinstance(e, TeacherGone) for e in errors)
                return not errors, mortal.asked

        return asyncio.run(until_the_end())

    def answered(self) -> list[tuple[str, int]]:
        return [(a.instruction_id, a.sample) for a in parts.rows_of(self.folder, Answer)]

    def dropped(self) -> list[tuple[str, str]]:
        return [(d.id, d.reason) for d in parts.dropped_of(self.folder)]


@pytest.fixture
def stage(make_faculty: Callable[..., "FakeFaculty"], runs: Folder) -> Stage:
    return Stage(make_faculty(), runs, "answers")


def test_a_row_that_kills_its_engine_three_times_is_dropped_and_its_neighbours_are_not(stage: Stage) -> None:
    poison = "List 5 rivers."
    lives = [stage.live(poison) for _ in range(4)]
    assert [last for last, _ in lives] == [False, False, False, True]
    assert [poison in asked for _, asked in lives] == [True, True, True, False]
    assert stage.dropped() == [("i5", "killed its engine")]
    assert stage.answered() == [(f"i{n}", 0) for n in range(ROWS) if n != 5]


def test_suspects_are_asked_in_ever_smaller_company_and_after_all_others(stage: Stage) -> None:
    poison = "List 5 rivers."
    stage.live(poison)
    _, second = stage.live(poison)
    assert second == [f"List {n} rivers." for n in range(5, 10)]  # 27 of this shard were not answered
    _, third = stage.live(poison)
    assert third == [*(f"List {n} rivers." for n in range(10, parts.SHARD_ROWS)), poison]


def test_all_samples_of_a_row_share_its_budget(make_faculty: Callable[..., "FakeFaculty"], runs: Folder) -> None:
    stage = Stage(make_faculty(), runs, "answers", samples=3)
    lives = [stage.live("List 5 rivers.") for _ in range(4)]
    assert [last for last, _ in lives] == [False, False, False, True]
    assert stage.dropped() == [(id, "killed its engine") for id in ("i5", "i5.1", "i5.2")]
    assert len(stage.answered()) == 3 * (ROWS - 1)


def test_engines_that_die_by_chance_cost_nothing(stage: Stage, runs: Folder, tmp_path: Path) -> None:
    calm = Stage(stage.faculty, Folder(str(tmp_path / "calm")), "answers")
    assert calm.live()[0]
    assert not stage.live(answers=10)[0]
    assert not stage.live(answers=15)[0]
    assert stage.live()[0]
    assert stage.dropped() == []
    assert parts.summary(stage.folder, Answer) == parts.summary(calm.folder, Answer)


def test_no_row_is_to_blame_for_a_driver_that_was_killed(stage: Stage) -> None:
    for n in range(5):
        assert not stage.live(answers=1, driver=f"driver {n}")[0]
    last, asked = stage.live(driver="driver 5")
    assert last
    assert stage.dropped() == []
    assert asked[0] == "List 0 rivers." or len(asked) < ROWS


def test_an_engine_that_never_answers_ends_the_run(stage: Stage) -> None:
    for _ in range(FRUITLESS_LIVES):
        assert not stage.live(answers=0)[0]
    with pytest.raises(RuntimeError, match=rf"the engine died {FRUITLESS_LIVES} times in a row without one answer"):
        stage.live()


def test_lives_are_counted_from_the_last_answer(runs: Folder) -> None:
    for _ in range(2):
        for _ in range(FRUITLESS_LIVES):
            life = Lives(runs, "actor")
            life.begin("it")
        life.bore_fruit()
    Lives(runs, "actor").begin("it")


def test_the_journal_charges_what_was_under_way_and_is_not_answered(runs: Folder) -> None:
    ShardJournal(runs, SHARD, "driver", []).under_way(["a", "b", "c"])
    second = ShardJournal(runs, SHARD, "driver", ["b", "c", "d"])
    assert second.deaths == {"b": 1, "c": 1}
    second.under_way(["c"])
    assert ShardJournal(runs, SHARD, "driver", ["b", "c"]).deaths == {"b": 1, "c": 2}
    assert ShardJournal(runs, SHARD, "another driver", ["b", "c"]).deaths == {"b": 1, "c": 1}
    assert ShardJournal(runs, parts.Shard(4, "", 0, 4), "driver", ["b"]).deaths == {}


def test_the_least_suspect_are_asked_first() -> None:
    rows = [f"r{n}" for n in range(14)]
    deaths = {**{f"r{n}": 1 for n in range(10)}, "r1": 2, "r3": 3, "r12": 2}
    assert list(companies(rows, deaths)) == [
        (0, ["r10", "r11", "r13"]),
        (1, ["r0", "r2"]),
        (1, ["r4", "r5"]),
        (1, ["r6", "r7"]),
        (1, ["r8", "r9"]),
        (2, ["r1"]),
        (2, ["r12"]),
    ]


def test_whoever_wants_to_be_alone_waits_for_those_inside_and_is_not_overtaken() -> None:
    inside: list[str] = []
    seen: dict[str, list[str]] = {}

    async def visit(name: str, way: Callable[[], object]) -> None:
        async with way():  # type: ignore[attr-defined]
            inside.append(name)
            for _ in range(5):
                await asyncio.sleep(0)
                seen.setdefault(name, []).extend(inside)
            inside.remove(name)

    async def all() -> None:
        gate = Gate()
        ways = {"a": gate.together, "b": gate.together, "X": gate.alone, "c": gate.together, "Y": gate.alone}
        await asyncio.gather(*(visit(name, way) for name, way in ways.items()))

    asyncio.run(all())
    assert set(seen["X"]) == {"X"}
    assert set(seen["Y"]) == {"Y"}
    assert set(seen["a"]) == {"a", "b"}
    assert set(seen["c"]) == {"c"}
