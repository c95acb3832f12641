"""Buckets against a clock that is turned by hand, and what a request's body is counted as."""

import json
from typing import Any

import pytest

from serving import asked
from serving.asked import CHAT, COMPLETIONS
from serving.limits import Allowance, Bucket, Limits
from serving.refusals import Refused


class HandClock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def test_a_bucket_gives_a_minutes_units_at_once_and_then_as_they_come(clock: HandClock) -> None:
    bucket = Bucket(60, clock)
    assert [bucket.take(1) for _ in range(60)] == [0.0] * 60
    assert bucket.take(1) == pytest.approx(1.0)
    clock.now += 0.5
    assert bucket.take(1) == pytest.approx(0.5)
    clock.now += 0.6
    assert bucket.take(1) == 0.0
    assert bucket.take(1) == pytest.approx(0.9)


def test_what_is_refused_takes_nothing(clock: HandClock) -> None:
    bucket = Bucket(60, clock)
    assert bucket.take(50) == 0.0
    assert bucket.take(20) == pytest.approx(10.0)
    assert bucket.take(10) == 0.0


def test_an_idle_bucket_is_never_fuller_than_a_minute(clock: HandClock) -> None:
    bucket = Bucket(60, clock)
    clock.now += 3600
    bucket.give_back(1000)
    assert bucket.take(60) == 0.0
    assert bucket.take(1) > 0


def test_what_was_used_beyond_what_was_taken_is_a_debt(clock: HandClock) -> None:
    allowance = Allowance(Limits(tokens_per_minute=600), clock)
    assert allowance.tokens(100) == 0.0
    allowance.settle(taken=100, used=900)
    assert allowance.tokens(100) == pytest.approx(40.0)
    clock.now += 41
    assert allowance.tokens(100) == 0.0


def test_tokens_that_were_not_used_can_be_asked_for_again(clock: HandClock) -> None:
    allowance = Allowance(Limits(tokens_per_minute=100), clock)
    assert allowance.tokens(100) == 0.0
    assert allowance.tokens(80) > 0
    allowance.settle(taken=100, used=20)
    assert allowance.tokens(80) == 0.0


def test_without_limits_nobody_waits(clock: HandClock) -> None:
    allowance = Allowance(Limits(), clock)
    assert {allowance.request() + allowance.tokens(10**9) for _ in range(100)} == {0.0}


def read(body: Any, path: str = COMPLETIONS, most: int | None = None) -> asked.Asked:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return asked.read(raw, path, ("teacher", "student"), most)


@pytest.mark.parametrize(
    ("path", "fields", "written"),
    [
        (COMPLETIONS, {"prompt": "x", "max_tokens": 7}, 7),
        (COMPLETIONS, {"prompt": "x"}, 16),
        (COMPLETIONS, {"prompt": "x", "max_tokens": None}, 16),
        (COMPLETIONS, {"prompt": [1, 2, 3], "max_tokens": 7}, 7),
        (COMPLETIONS, {"prompt": ["x", "y"], "max_tokens": 7, "n": 3}, 42),
        (COMPLETIONS, {"prompt": [[1, 2], [3]], "max_tokens": 7}, 14),
        (CHAT, {"messages": [], "max_completion_tokens": 9, "max_tokens": 5}, 9),
        (CHAT, {"messages": []}, 0),
        ("/tokenize", {"prompt": "x"}, 0),
    ],
)
def test_all_that_could_be_written_is_counted(path: str, fields: dict[str, Any], written: int) -> None:
    request = read(fields, path)
    assert request.written_tokens == written
    assert request.tokens == written + len(request.body) // 3


def test_a_chat_without_a_bound_gets_the_one_that_there_is() -> None:
    request = read({"messages": [{"role": "user", "content": "ü"}], "n": 3}, CHAT, most=100)
    body = json.loads(request.body)
    assert body == {"messages": [{"role": "user", "content": "ü"}], "n": 3, "max_tokens": 33}
    assert request.written_tokens == 100
    bounded = {"messages": [], "max_tokens": 5}
    assert json.loads(read(bounded, CHAT, most=100).body) == bounded


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (COMPLETIONS, {"prompt": "x", "max_tokens": 101}),
        (COMPLETIONS, {"prompt": "x", "max_tokens": 51, "n": 2}),
        (COMPLETIONS, {"prompt": ["x"] * 7}),
        (CHAT, {"messages": [], "max_tokens": 1, "max_completion_tokens": 10**6}),
        (CHAT, {"messages": [], "n": 101}),
    ],
)
def test_more_than_may_be_written_is_refused(path: str, fields: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="at most 100 here") as refused:
        read(fields, path, most=100)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "fields",
    [{"max_tokens": 1e6}, {"max_tokens": "9"}, {"max_tokens": True}, {"max_tokens": -1}, {"n": 0}, {"n": [5]}],
)
def test_a_number_that_is_none_is_not_counted_as_none(fields: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="not a whole number"):
        read(fields, most=100)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b'{"prompt": secret}', "not JSON (line 1, column 12)"),
        (b'{"prompt": "\xff secret"}', "not UTF-8 at byte 12"),
        ('{"prompt": "secret"}'.encode("utf-16"), "not UTF-8"),
        (b"[" * 200_000, "too deep"),
        (b'{"max_tokens": ' + b"9" * 5000 + b"}", "a number too long"),
        (b'["secret"]', "not a JSON object"),
    ],
)
def test_what_cannot_be_read_is_refused_without_repeating_it(body: bytes, words: str) -> None:
    with pytest.raises(Refused) as refused:
        read(body)
    assert refused.value.status == 400
    assert words in str(refused.value)
    assert "secret" not in str(refused.value)


def test_another_model_is_refused_with_those_that_there_are() -> None:
    assert read({"model": "student"}).model == "student"
    assert read({}).model == ""
    for name in ("studen", "student:adapter", ""):
        with pytest.raises(Refused, match="there is teacher, student") as refused:
            read({"model": name})
        assert (refused.value.status, refused.value.code) == (404, "model_not_found")
