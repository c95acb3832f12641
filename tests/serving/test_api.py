"""An API that misbehaves: what is tried again, what costs its row, what ends the run; and no key anywhere."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeVar

import httpx2
import pytest
from api_server import ApiServer, Wire, says

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Sampling
from pipelines.core.errors import Unreachable, UserError
from pipelines.core.records import Completion
from pipelines.core.signals import unpack
from pipelines.generate.teacher import Request, RequestFailed, TeacherId, score_request, write_request
from serving import api as module
from serving.api import LOST_IN_A_ROW, Address, Api
from serving.client import HostedModel, ServedModel
from serving.pace import Pace

T = TypeVar("T")
KEY = "sk-secret-0123456789"
TEACHER = TeacherId("big", "digest-1")
SAMPLING = Sampling(temperature=0.5, max_tokens=20, stop=("\n\n",))
MALFORMED, EMPTY = Wire(body=b'{"choices": [{"mess'), Wire(body=b'{"choices": []}')
TRUNCATED, HUNG_UP, HANGING = replace(says("Yes."), cut=100), Wire(0), replace(says("Late."), after_s=0.6)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.001)
    monkeypatch.setenv("BIG_KEY", KEY + "\n")


def address(server: ApiServer, **how: Any) -> Address:
    return Address(server.url, "teachers.big", **{"key_from": "BIG_KEY", "retries": 2, "timeout_s": 0.3, **how})


def with_api(where: Address, use: Callable[[Api], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with Api(where) as api:
            return await use(api)

    return asyncio.run(opened())


def ask(number: int = 0) -> Request:
    return write_request(TEACHER, f"Why {number}?", SAMPLING)


def write(where: Address, *requests: Request) -> list[Any]:
    """What came of each, errors too."""

    async def all_at_once(api: Api) -> list[Any]:
        model = HostedModel(api, "big-1", TEACHER.digest, chat=True)
        return await asyncio.gather(*(model.write(r) for r in requests or [ask()]), return_exceptions=True)

    return with_api(where, all_at_once)


def one(where: Address) -> Completion:
    (said,) = write(where)
    if isinstance(said, BaseException):
        raise said
    return said


def test_a_turn_is_asked_and_its_answer_says_what_it_cost(server: ApiServer) -> None:
    server.then(says("A b c.", "content_filter"))
    said = one(address(server))
    (asked,) = server.asked
    assert (asked.path, asked.key) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert asked.body == {
        "model": "big-1", "messages": [{"role": "user", "content": "Why 0?"}], "temperature": 0.5, "top_p": 1.0,
        "presence_penalty": 0.0, "max_tokens": 20, "stop": ["\n\n"], "seed": ask().seed,
    }  # fmt: skip
    assert (said.id, said.model, said.prompt) == (ask().id, "digest-1", "Why 0?")
    assert (said.text, said.finish_reason, said.token_ids) == ("A b c.", "content_filter", ())
    assert (said.prompt_tokens, said.output_tokens, said.retries) == (7, 3, 0)
    assert 0 < said.seconds < 5


def test_a_conversation_is_asked_turn_by_turn(server: ApiServer) -> None:
    request = write_request(TEACHER, "And why?", SAMPLING, earlier=["Hello.", "Good day."])
    write(address(server), request)
    assert server.asked[0].body["messages"] == [
        {"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": "And why?"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "trouble",
    [Wire(429), Wire(404), Wire(408), Wire(409), Wire(500), Wire(503), MALFORMED, EMPTY, TRUNCATED, HUNG_UP, HANGING,
     Wire(body=b'{"choices": [{"finish_reason": "stop"}]}')],
    ids=["429", "404", "408", "409", "500", "503", "malformed", "empty", "truncated", "hung up", "hanging",
         "says nothing"],
)  # fmt: skip
def test_what_may_pass_is_tried_again_and_costs_its_row_where_it_does_not(server: ApiServer, trouble: Wire) -> None:
    server.then(trouble, trouble)
    assert (one(address(server)).text, len(server.asked)) == ("At last.", 3)
    assert one(address(server)).retries == 0
    server.then(trouble, trouble)
    assert one(address(server)).retries == 2
    server.then(*3 * [trouble])
    with pytest.raises(RequestFailed, match="tried 3 times") as lost:
        one(address(server))
    assert lost.value.reason == ("timed out" if trouble is HANGING else "request failed")


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_prompt_is_not_asked_twice(server: ApiServer, status: int) -> None:
    server.then(Wire(status, b'{"error": {"message": "the prompt is too long"}}'))
    with pytest.raises(RequestFailed, match=rf"{status}: .*too long"):
        one(address(server))
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_bad_key_ends_the_run_in_words(server: ApiServer, status: int) -> None:
    server.then(Wire(status, f"Incorrect key: {KEY}".encode()))
    with pytest.raises(UserError, match=rf"teachers\.big: .*{status}: Incorrect key: \[key\].*BIG_KEY"):
        one(address(server))
    server.then(Wire(status))
    with pytest.raises(UserError, match="check api_key_env, as no key was sent"):
        one(address(server, key_from=""))
    assert [asked.key for asked in server.asked] == [f"Bearer {KEY}", ""]


@pytest.mark.parametrize(("value", "words"), [("", "is not set"), (" ", "is not set"), ("sk\nkey", "plain")])
def test_a_key_that_is_missing_is_told_before_anything_is_sent(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, value: str, words: str
) -> None:
    monkeypatch.setenv("BIG_KEY", value)
    with pytest.raises(UserError, match=rf"teachers\.big\.api_key_env: .*BIG_KEY.* {words}"):
        one(address(server))
    assert server.asked == []


def test_the_key_is_in_no_message_and_in_no_log(server: ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    where = address(server, retries=1)
    echo = f'{{"error": "{KEY}", "model": "{KEY}", "choices": [{{"text": "Yes."}}]}}'.encode()
    server.then(Wire(400, echo), Wire(500, echo), Wire(500, echo), Wire(body=echo))
    said = [*write(where), *write(where), *write(where)]
    assert [type(each) for each in said] == [RequestFailed, RequestFailed, Completion]
    assert "answers as '[key]'" in caplog.text
    assert KEY not in f"{said} {where} {caplog.text}"


def test_a_wait_that_is_asked_for_is_waited(server: ApiServer) -> None:
    server.then(Wire(429, headers={"Retry-After": "0.4"}))
    began = time.monotonic()
    assert one(address(server)).text == "At last."
    assert time.monotonic() - began >= 0.4
    server.then(Wire(429, b"come again tomorrow", {"Retry-After": "86400"}))
    with pytest.raises(RequestFailed, match="come again tomorrow"):
        one(address(server))
    assert len(server.asked) == 3


def test_a_wait_may_be_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    for told, seconds in ((soon, 89), ("12", 12), ("", 0), ("soon", 0)):
        response = httpx2.Response(429, headers={"Retry-After": told})
        assert module._retry_after(response) == pytest.approx(seconds, abs=1.5)


def test_a_date_is_by_the_clock_that_names_it() -> None:
    headers = {"Date": "Tue, 01 Jan 2030 08:00:00 GMT", "Retry-After": "Tue, 01 Jan 2030 08:00:12 GMT"}
    assert module._retry_after(httpx2.Response(429, headers=headers)) == 12


def test_an_api_that_answers_nothing_ends_the_run_and_one_answer_is_enough_to_go_on(server: ApiServer) -> None:
    lost = LOST_IN_A_ROW - 1
    server.then(*lost * [Wire(503)], says("Yes."), *lost * [Wire(503)])
    said = write(address(server, retries=0, at_once=1), *(ask(n) for n in range(2 * lost + 1)))
    assert [type(each) for each in said] == [*lost * [RequestFailed], Completion, *lost * [RequestFailed]]
    server.then(*LOST_IN_A_ROW * [Wire(503)])
    said = write(address(server, retries=0, at_once=1), *(ask(n) for n in range(LOST_IN_A_ROW)))
    assert [type(each) for each in said] == [*lost * [RequestFailed], Unreachable]
    assert server.url in str(said[-1])


def test_nobody_at_the_address_is_the_same(server: ApiServer) -> None:
    server.close()
    said = write(address(server, retries=1, at_once=1), *(ask(n) for n in range(LOST_IN_A_ROW)))
    assert isinstance(said[-1], Unreachable)
    assert "ConnectError" in str(said[-1])


def test_no_more_are_under_way_than_allowed(server: ApiServer) -> None:
    server.behave = lambda _: replace(says("Yes."), after_s=0.02)
    write(address(server, at_once=3), *(ask(n) for n in range(12)))
    assert (server.most_under_way, len(server.asked)) == (3, 12)


def test_requests_and_tokens_keep_their_pace(server: ApiServer) -> None:
    began = time.monotonic()
    write(address(server, requests_per_minute=600), *(ask(n) for n in range(4)))
    assert time.monotonic() - began >= 0.3
    began = time.monotonic()
    write(address(server, tokens_per_minute=60 * 220), *(ask(n) for n in range(4)))  # 22 at most each: a tenth
    assert time.monotonic() - began >= 0.2


def test_a_pace_is_even_and_what_was_not_used_comes_back() -> None:
    now = [100.0]
    pace = Pace(60, lambda: now[0])
    assert [pace.wait_for(1), pace.wait_for(3), pace.wait_for(1)] == [0, 1, 4]
    now[0] += 4.5
    assert pace.wait_for(2) == 0.5
    pace.give_back(1.5)
    assert pace.wait_for(1) == 1
    now[0] += 60
    assert [pace.wait_for(1), pace.wait_for(1)] == [0, 1]  # a pause saves nothing up


def test_extra_fields_are_sent_and_null_takes_ours_away(server: ApiServer) -> None:
    async def use(api: Api) -> None:
        extra = {"max_completion_tokens": 30, "max_tokens": None, "reasoning": {"effort": "low"}}
        await HostedModel(api, "big-1", "", chat=False, extra=extra).write(
            write_request(TEACHER, "1. Bake", SAMPLING.model_copy(update={"min_p": 0.1}), is_chat=False)
        )

    with_api(address(server), use)
    (asked,) = server.asked
    assert (asked.path, asked.prompt) == ("/v1/completions", "1. Bake")
    assert asked.body["max_completion_tokens"] == 30
    assert asked.body["reasoning"] == {"effort": "low"}
    assert asked.body["min_p"] == 0.1
    assert "max_tokens" not in asked.body


def test_a_vllm_server_is_asked_in_token_ids(server: ApiServer, tokenizer: ChatTokenizer) -> None:
    async def use(api: Api) -> Completion:
        return await ServedModel(api, "big-1", tokenizer, "digest-1").write(ask())

    server.then(says("A b.", token_ids=[5, 6, 7]))
    said = with_api(address(server), use)
    assert server.asked[0].prompt == tokenizer.prompt_ids("Why 0?")
    assert (said.token_ids, said.output_tokens, said.text) == ((5, 6, 7), 2, "A b.")


def test_a_vllm_server_scores(server: ApiServer, tokenizer: ChatTokenizer) -> None:
    request = score_request(TEACHER, "e1", [4, 5, 6], [1, 2], 2)
    told = [None, {"5": {"logprob": -3.0}, "8": {"logprob": -0.5}, "9": {"logprob": -1.0}},
            {"6": {"logprob": -0.25}, "1": {"logprob": -2.0}}]  # fmt: skip

    async def use(api: Api) -> Any:
        model = ServedModel(api, "big-1", tokenizer)
        return await model.score(request), await model.logprobs([4, 5, 6])

    server.behave = lambda asked: says("x", prompt_logprobs=told)
    signal, logprobs = with_api(address(server), use)
    ids, values = unpack(signal)
    assert ids.tolist() == [[8, 9], [6, 1]]  # the actual token 5 is not among the two likeliest
    assert values.tolist() == [[-0.5, -1.0], [-0.25, -2.0]]
    assert logprobs == [0.0, -3.0, -0.25]
    assert [asked.body["prompt_logprobs"] for asked in server.asked] == [2, 0]
    server.behave = lambda asked: says("x")
    with pytest.raises(RequestFailed, match="vLLM"):
        with_api(address(server), use)
