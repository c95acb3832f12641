"""What the gate lets out: streams as they come, errors in one shape, and what is counted."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gated import HELLO, Behind, Site, scope
from starlette.types import Message

from serving.asked import CHAT, COMPLETIONS


def test_a_streams_events_are_counted(site: Callable[..., Site], behind: Behind) -> None:
    body = {"model": "student", "messages": []}
    answer = site().post(CHAT, body)
    assert len(answer.chunks) == 5
    assert [visit.tokens for visit in behind.visits] == [len(json.dumps(body)) // 3 + 5]


def test_a_stream_is_not_held_back(site: Callable[..., Site], behind: Behind) -> None:
    """Each event is with the client before the next one is made."""
    here = site()

    async def talk() -> list[int]:
        behind.pause = asyncio.Event()
        made_when_seen: list[int] = []
        body = [json.dumps({"model": "student", "messages": []}).encode()]

        async def receive() -> Message:
            if body:
                return {"type": "http.request", "body": body.pop()}
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            if message.get("body"):
                made_when_seen.append(behind.streamed)
                assert behind.pause
                behind.pause.set()

        await here.app(scope("POST", CHAT, {"content-type": "application/json"}), receive, send)
        return made_when_seen

    assert asyncio.run(talk()) == [1, 2, 3, 4, 5]


def test_a_client_that_leaves_ends_the_stream(site: Callable[..., Site], behind: Behind) -> None:
    here = site()

    async def talk() -> None:
        behind.pause = asyncio.Event()
        seen = asyncio.Event()
        body = [json.dumps({"model": "student", "messages": []}).encode()]

        async def receive() -> Message:
            if body:
                return {"type": "http.request", "body": body.pop()}
            await seen.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message.get("body"):
                seen.set()

        async with asyncio.timeout(5):
            await here.app(scope("POST", CHAT, {"content-type": "application/json"}), receive, send)

    asyncio.run(talk())
    assert behind.cancelled
    assert behind.streamed == 1


def test_cancelling_a_request_cancels_what_is_behind(site: Callable[..., Site], behind: Behind) -> None:
    """As Serve does when a client has left."""
    here = site()

    async def talk() -> None:
        behind.pause = asyncio.Event()
        body = [json.dumps({"model": "student", "messages": []}).encode()]

        async def receive() -> Message:
            if body:
                return {"type": "http.request", "body": body.pop()}
            await asyncio.Event().wait()
            raise AssertionError

        async def send(_: Message) -> None:
            pass

        task = asyncio.create_task(
            here.app(scope("POST", CHAT, {"content-type": "application/json"}), receive, send)  # type: ignore[arg-type]
        )
        while not behind.streamed:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(talk())
    assert behind.cancelled
    assert [visit.status for visit in behind.visits] == [499]


def test_a_client_that_leaves_while_it_asks_is_not_answered(site: Callable[..., Site], behind: Behind) -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise AssertionError(f"nobody is there: {message}")

    asyncio.run(site().app(scope("POST", COMPLETIONS, {}), gone, send))
    assert [visit.status for visit in behind.visits] == [499]
    assert not behind.asked


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/nowhere", HELLO, 404, "Not Found"),
        ("GET", COMPLETIONS, {}, 405, "Method Not Allowed"),
        ("POST", COMPLETIONS, {**HELLO, "prompt": ["secret"]}, 400, "body.prompt: Input should be a valid string"),
        ("POST", COMPLETIONS, {**HELLO, "prompt": "unfit"}, 400, "it does not fit"),
        ("POST", "/plain", HELLO, 503, "its deployment is not there"),
    ],
)
def test_every_error_has_openais_shape(
    site: Callable[..., Site], behind: Behind, method: str, path: str, body: Any, status: int, words: str
) -> None:
    answer = site().ask(method, path, [json.dumps(body).encode()], {"content-type": "application/json"})
    assert (answer.status, answer.error["message"]) == (status, words)
    assert "secret" not in answer.text
    assert [visit.status for visit in behind.visits] == [status]


def test_a_failure_of_the_servers_keeps_its_words_to_itself(site: Callable[..., Site], behind: Behind) -> None:
    here = site()
    sent: list[Message] = []
    body = [json.dumps({**HELLO, "prompt": "fail"}).encode()]

    async def receive() -> Message:
        return {"type": "http.request", "body": body.pop()}

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(RuntimeError):  # for the server's log
        asyncio.run(here.app(scope("POST", COMPLETIONS, {"content-type": "application/json"}), receive, send))
    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"])["error"]["type"] == "server_error"
    assert b"secret" not in sent[1]["body"]
    assert [visit.status for visit in behind.visits] == [500]


def test_metrics_are_told_whose_request_it_was(
    site: Callable[..., Site], behind: Behind, key_file: Path, ann: str
) -> None:
    here = site(keys=key_file)
    here.post(COMPLETIONS, HELLO, authorization=ann)
    here.post(COMPLETIONS, HELLO, authorization="Bearer tut-no")
    here.post(COMPLETIONS, {**HELLO, "model": "another"}, authorization=ann)
    assert [(visit.key, visit.model, visit.status, visit.tokens) for visit in behind.visits] == [
        ("ann", "student", 200, 5),
        ("", "", 401, 0),
        ("ann", "", 404, 0),
    ]


def test_a_path_of_its_own_is_not_part_of_the_path(site: Callable[..., Site]) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    here = {**scope("GET", "/tutelage-1/health", {"host": "evil.example"}), "root_path": "/tutelage-1"}
    asyncio.run(site().app(here, receive, send))
    assert sent[0]["status"] == 200
