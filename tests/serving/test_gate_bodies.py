"""What the gate lets in of a request: no more than fits, whole, and only what can be read."""

import asyncio
import json
from collections.abc import Callable

import pytest
from gated import HELLO, Behind, Site
from starlette.types import Message

from serving.asked import COMPLETIONS


def test_a_body_in_pieces_reaches_the_application_whole(site: Callable[..., Site], behind: Behind) -> None:
    raw = json.dumps(HELLO).encode()
    headers = {"content-type": "application/json", "transfer-encoding": "chunked"}
    assert site().ask("POST", COMPLETIONS, [raw[:5], b"", raw[5:]], headers).status == 200
    assert behind.asked == [HELLO]
    assert behind.headers[0]["content-length"] == str(len(raw))
    assert "transfer-encoding" not in behind.headers[0]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(site: Callable[..., Site]) -> None:
    async def unread() -> Message:
        raise AssertionError("it says how large it is")

    here = site(body_bytes=100)
    answer = asyncio.run(here.asked("POST", COMPLETIONS, {"content-length": "101"}, unread))
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")


def test_a_body_that_does_not_say_how_large_it_is_is_counted(site: Callable[..., Site], behind: Behind) -> None:
    pieces = 0

    async def endless() -> Message:
        nonlocal pieces
        pieces += 1
        assert pieces < 100, "it would read for ever"
        return {"type": "http.request", "body": b"x" * 30, "more_body": True}

    here = site(body_bytes=100)
    for headers in ({}, {"content-length": "10"}, {"content-length": "x"}):
        pieces = 0
        assert asyncio.run(here.asked("POST", COMPLETIONS, headers, endless)).status == 413
        assert pieces == 4
    assert not behind.asked


def test_a_body_of_just_the_size_is_read(site: Callable[..., Site]) -> None:
    size = len(json.dumps(HELLO))
    assert site(body_bytes=size).post(COMPLETIONS, HELLO).status == 200
    assert site(body_bytes=size - 1).post(COMPLETIONS, HELLO).status == 413


def test_a_body_that_never_comes_is_not_waited_for(site: Callable[..., Site]) -> None:
    async def drip() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b" ", "more_body": True}

    answer = asyncio.run(asyncio.wait_for(site(body_s=0.1).asked("POST", COMPLETIONS, {}, drip), 3))
    assert (answer.status, answer.error["code"]) == (408, "body_timeout")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("body", [b"{", b'{"prompt": "\xff"}', b"[]", b"[" * 100_000, b""])
def test_what_cannot_be_read_is_refused(site: Callable[..., Site], behind: Behind, body: bytes) -> None:
    answer = site().post(COMPLETIONS, body)
    assert (answer.status, answer.error["code"]) == (400, "bad_body")
    assert not behind.asked


def test_a_model_that_is_not_there_is_refused_with_those_that_are(site: Callable[..., Site], behind: Behind) -> None:
    answer = site().post(COMPLETIONS, {**HELLO, "model": "secret"})
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert "teacher, student" in answer.error["message"]
    assert "secret" not in answer.text
    assert not behind.asked
