"""Silent teachers: a hang costs one request at most, and a teacher that is merely slow costs nothing."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest

from pipelines.core.config import Sampling
from pipelines.core.records import Completion
from pipelines.generate.patience import Patient
from pipelines.generate.teacher import (
    Request,
    RequestFailed,
    ScoreRequest,
    TeacherGone,
    TeacherId,
    TimedOut,
    write_request,
)

TEACHER = TeacherId("main", "digest-1")
SILENCE_S = 0.3


def request(prompt: str) -> Request:
    return write_request(TEACHER, prompt, Sampling())


@dataclass
class Sleepy:
    """Answers "N seconds" after N seconds; hangs on "hang N" the first N times."""

    asked: Counter[str] = field(default_factory=Counter)
    let_go: list[str] = field(default_factory=list)

    async def write(self, request: Request) -> Completion:
        self.asked[request.prompt] += 1
        word, number = request.prompt.split()
        try:
            if word == "refuse":
                raise RequestFailed("no")
            await asyncio.sleep(3600 if word == "hang" and self.asked[request.prompt] <= int(number) else 0)
            await asyncio.sleep(float(word) if number == "seconds" else 0)
        except asyncio.CancelledError:
            self.let_go.append(request.prompt)
            raise
        return Completion(request.id, TEACHER.digest, request.prompt, "said", (1,), "stop", 1, 1)

    async def score(self, request: ScoreRequest) -> None:
        raise NotImplementedError


def ask(teacher: Patient, *prompts: str) -> list[Completion | BaseException]:
    async def all() -> list[Completion | BaseException]:
        return await asyncio.gather(*(teacher.write(request(p)) for p in prompts), return_exceptions=True)

    return asyncio.run(all())


def test_a_hang_is_let_go_of_and_asked_again() -> None:
    sleepy = Sleepy()
    (said,) = ask(Patient(sleepy, SILENCE_S), "hang 2")  # type: ignore[arg-type]
    assert isinstance(said, Completion)
    assert (sleepy.asked, sleepy.let_go) == ({"hang 2": 3}, ["hang 2"] * 2)


def test_a_request_that_hangs_each_time_has_timed_out_and_its_neighbours_have_not() -> None:
    sleepy = Sleepy()
    hung, said, refused = ask(Patient(sleepy, SILENCE_S), "hang 3", "0.01 seconds", "refuse 1")  # type: ignore[arg-type]
    assert isinstance(hung, TimedOut)
    assert hung.reason == "timed out"
    assert "0.3 s" in str(hung)
    assert "3 times" in str(hung)
    assert isinstance(said, Completion)
    assert isinstance(refused, RequestFailed)
    assert sleepy.asked == {"hang 3": 3, "0.01 seconds": 1, "refuse 1": 1}


def test_a_slow_answer_is_waited_for_as_long_as_others_come() -> None:
    """Each of these comes within the silence allowed after the one before."""
    sleepy = Sleepy()
    slow = [f"{n * 0.15:g} seconds" for n in range(1, 7)]
    assert all(isinstance(said, Completion) for said in ask(Patient(sleepy, SILENCE_S), *slow))  # type: ignore[arg-type]
    assert set(sleepy.asked.values()) == {1}


def test_an_engine_that_stirs_is_not_silent() -> None:
    """Its answers are all long; that it works at them is known from its steps."""

    class Stirring(Sleepy):
        @property
        def stirred_at(self) -> float:
            return time.monotonic()

    sleepy = Stirring()
    (said,) = ask(Patient(sleepy, SILENCE_S), f"{2 * SILENCE_S} seconds")  # type: ignore[arg-type]
    assert isinstance(said, Completion)
    assert sleepy.asked.total() == 1


def test_in_an_actor_silence_is_the_teachers_end() -> None:
    sleepy = Sleepy()
    (error,) = ask(Patient(sleepy, SILENCE_S, tries=1, gone=TeacherGone), "hang 1")  # type: ignore[arg-type]
    assert isinstance(error, TeacherGone)
    assert sleepy.asked == {"hang 1": 1}


def test_whoever_is_not_waited_for_any_more_is_let_go_of() -> None:
    sleepy = Sleepy()

    async def give_up() -> None:
        await asyncio.wait_for(Patient(sleepy, 60).write(request("hang 1")), 0.05)  # type: ignore[arg-type]

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert sleepy.let_go == ["hang 1"]
