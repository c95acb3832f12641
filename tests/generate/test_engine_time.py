"""An engine's seconds: what counts as busy and as idle, and what is left of a killed one."""

import asyncio
import threading
from pathlib import Path

import pytest

from pipelines.core.config import Sampling
from pipelines.core.records import Completion, SoftTargets
from pipelines.core.storage import Folder
from pipelines.generate.engine_time import EVERY_S, Clock, Clocked, EngineTime, facts, keep
from pipelines.generate.teacher import Request, RequestFailed, ScoreRequest, TeacherId, score_request, write_request


class Hands:
    """A clock's hands, moved by the test."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def test_requests_that_overlap_are_busy_once_and_the_rest_is_idle() -> None:
    hands = Hands()
    clock = Clock(starting_s=30.0, now=hands)
    hands.at = 102.0  # two seconds before the first request
    with clock.request():
        hands.at = 105.0
        with clock.request():
            hands.at = 106.0
            assert clock.read() == EngineTime(30.0, busy=4.0, idle=2.0)  # still under way
        hands.at = 107.0
    hands.at = 117.0  # the tail
    assert clock.read() == EngineTime(30.0, busy=5.0, idle=12.0)


def test_a_teachers_requests_are_on_the_clock_also_those_that_fail() -> None:
    hands = Hands()

    class Slow:
        async def write(self, request: Request) -> Completion:
            hands.at += 2.0
            raise RequestFailed("too long")

        async def score(self, request: ScoreRequest) -> SoftTargets:
            hands.at += 3.0
            raise RequestFailed("too long")

    clock = Clock(0.0, hands)
    teacher, identity = Clocked(Slow(), clock), TeacherId("main", "d")
    with pytest.raises(RequestFailed):
        asyncio.run(teacher.write(write_request(identity, "List rivers.", Sampling())))
    hands.at += 10.0
    with pytest.raises(RequestFailed):
        asyncio.run(teacher.score(score_request(identity, "e1", [5, 6], [1], 4)))
    assert clock.read() == EngineTime(0.0, busy=5.0, idle=10.0)


def test_what_is_written_down_adds_up_over_lives(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "engines"))
    assert facts(folder) == {}
    for life, seconds in {"a": (20.0, 5.0, 1.0), "b": (21.0, 7.25, 0.0)}.items():
        starting, busy, idle = seconds
        folder.write_json(f"{life}.json", {"starting": starting, "busy": busy, "idle": idle})
    assert facts(folder) == {"engine_seconds": {"starting": 41.0, "busy": 12.2, "idle": 1.0}}


def test_a_life_is_written_down_again_and_again(tmp_path: Path) -> None:
    folder, hands, written, enough = Folder(str(tmp_path)), Hands(), [], threading.Event()

    def idle() -> float:
        return float(folder.read_json("life.json")["idle"])

    def sleep(seconds: float) -> None:
        written.append(idle())
        hands.at += seconds
        if len(written) == 3:
            enough.set()
            threading.Event().wait()  # for ever

    note = keep(Clock(1.0, hands), folder, "life", sleep)
    assert enough.wait(10)
    assert written == [0.0, EVERY_S, 2 * EVERY_S]
    note()
    assert idle() == 3 * EVERY_S
