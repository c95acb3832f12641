"""The gate before a small application that streams, in this process: ASGI messages in and out, and no Ray."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel
from starlette.types import Message

from serving import keys
from serving.asked import CHAT, COMPLETIONS
from serving.door import Door
from serving.gate import Gate, Visit
from serving.limits import Limits
from serving.refusals import worded

MODELS = ("teacher", "student")
HELLO = {"model": "student", "prompt": "Hello", "max_tokens": 8}


@dataclass
class Behind:
    """What the application behind the gate saw, and what its metrics were told."""

    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    streamed: int = 0
    cancelled: bool = False
    visits: list[Visit] = field(default_factory=list)
    pause: asyncio.Event | None = None  # between a stream's events
    now: float = 0.0


class Body(BaseModel):
    prompt: str = ""
    max_tokens: int | None = None


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    chunks: list[bytes]

    @property
    def text(self) -> str:
        return b"".join(self.chunks).decode()

    @property
    def error(self) -> dict[str, Any]:
        """In the shape of OpenAI's."""
        body = json.loads(self.text)
        assert list(body) == ["error"]
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert self.headers["content-type"] == "application/json"
        return dict(body["error"])


def application(behind: Behind, door: Door) -> FastAPI:
    app = worded()
    app.add_middleware(Gate, door=door, models=MODELS, observer=lambda: behind.visits.append, clock=lambda: behind.now)

    @app.post(COMPLETIONS)
    async def completions(body: Body, request: Request) -> dict[str, Any]:
        behind.asked.append(await request.json())
        behind.headers.append(dict(request.headers))
        if body.prompt == "fail":
            raise RuntimeError("a secret of the server's")
        if body.prompt == "unfit":
            raise HTTPException(400, "it does not fit")
        return {"text": 'so "total_tokens": 9999', "usage": {"prompt_tokens": 2, "total_tokens": 5}}

    @app.post(CHAT)
    async def chat(request: Request) -> StreamingResponse:
        behind.asked.append(await request.json())

        async def events() -> AsyncIterator[str]:
            try:
                for n in range(5):
                    behind.streamed += 1
                    yield f'data: {{"n": {n}}}\n\n'
                    if behind.pause:
                        await behind.pause.wait()
            except asyncio.CancelledError:
                behind.cancelled = True
                raise

        return StreamingResponse(events(), media_type="text/event-stream")

    @app.post("/plain")
    async def plain() -> PlainTextResponse:
        return PlainTextResponse("its deployment is not there", 503)

    @app.get("/v1/models")
    async def models(request: Request) -> list[str]:
        behind.headers.append(dict(request.headers))
        return list(MODELS)

    @app.get("/health")
    async def health() -> str:
        return "alive"

    return app


class Site:
    """Asks the application as a server would hand it requests. Its clock stands still but for `behind.now`."""

    def __init__(self, behind: Behind, door: Door) -> None:
        self.behind, self.app = behind, application(behind, door)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, [raw], {"content-type": "application/json", **headers})

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, [b""], headers)

    def ask(self, method: str, path: str, pieces: Iterable[bytes], headers: Mapping[str, str]) -> Answer:
        async def receive() -> Message:
            try:
                return waiting.pop(0)
            except IndexError:
                await asyncio.Event().wait()  # the client stays, and says no more
                raise

        *first, last = pieces
        waiting: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in first]
        waiting.append({"type": "http.request", "body": last})
        return asyncio.run(self.asked(method, path, headers, receive))

    async def asked(self, method: str, path: str, headers: Mapping[str, str], receive: Callable[[], Any]) -> Answer:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope(method, path, headers), receive, send)
        start, *rest = sent
        told = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], told, [m["body"] for m in rest if m.get("body")])


def scope(method: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    names = {"host": "127.0.0.1:8123", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 8123), "headers": [(n.encode(), v.encode("latin-1")) for n, v in names.items()],
    }  # fmt: skip


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def site(behind: Behind) -> Callable[..., Site]:
    """site(**limits) without keys; site(keys=FILE) with them."""

    def make(*, keys: Path | None = None, **limits: Any) -> Site:
        return Site(behind, Door(keys=keys, limits=Limits(**limits)))

    return make


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def ann(key_file: Path) -> str:
    """The header of one who has a key."""
    return f"Bearer {keys.create(key_file, 'ann')}"


# Keys.


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", [COMPLETIONS, "/v1/models", "/", "/docs", "/nowhere", "/health/", "/v1/../health"])
def test_with_keys_nothing_is_told_without_one(
    site: Callable[..., Site], behind: Behind, key_file: Path, ann: str, method: str, path: str
) -> None:
    answer = site(keys=key_file).ask(method, path, [b"{}"], {})
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert not behind.asked
    assert not behind.headers


def test_with_a_key_one_comes_in_and_the_key_goes_no_further(
    site: Callable[..., Site], behind: Behind, key_file: Path, ann: str
) -> None:
    here = site(keys=key_file)
    assert here.post(COMPLETIONS, HELLO, authorization=ann).status == 200
    assert here.post(COMPLETIONS, HELLO, authorization=ann.replace("Bearer", "bearer")).status == 200
    assert here.get("/v1/models", authorization=ann).status == 200
    assert behind.asked == [HELLO, HELLO]
    assert len(behind.headers) == 3
    assert all("authorization" not in headers for headers in behind.headers)


@pytest.mark.parametrize(
    "spoilt", ["{0}", "Basic {0}", "Bearer {0}x", "Bearer", "Bearer ", "Bearer \xff", "Bearer tut-"]
)
def test_a_key_that_is_not_right_is_refused_and_not_repeated(
    site: Callable[..., Site], behind: Behind, key_file: Path, ann: str, spoilt: str
) -> None:
    key = ann.removeprefix("Bearer ")
    answer = site(keys=key_file).post(COMPLETIONS, HELLO, authorization=spoilt.format(key))
    assert answer.status == 401
    assert key not in answer.text
    assert not behind.asked


def test_a_revoked_key_stops_at_once(site: Callable[..., Site], key_file: Path, ann: str) -> None:
    here = site(keys=key_file)
    assert here.post(COMPLETIONS, HELLO, authorization=ann).status == 200
    keys.revoke(key_file, "ann")
    assert here.post(COMPLETIONS, HELLO, authorization=ann).status == 401


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_text("{}")])
def test_without_a_file_that_can_be_read_nobody_comes_in(
    site: Callable[..., Site], key_file: Path, ann: str, damage: Callable[[Path], Any]
) -> None:
    here = site(keys=key_file)
    assert here.post(COMPLETIONS, HELLO, authorization=ann).status == 200
    damage(key_file)
    for headers in ({"authorization": ann}, {}):
        answer = here.post(COMPLETIONS, HELLO, **headers)
        assert (answer.status, answer.error["code"]) == (503, "no_keys")
        assert str(key_file) not in answer.text
    assert here.get("/health").status == 200


def test_health_needs_no_key_and_is_no_visit(
    site: Callable[..., Site], behind: Behind, key_file: Path, ann: str
) -> None:
    assert site(keys=key_file, requests_per_minute=1).get("/health").text == '"alive"'
    assert not behind.visits


def test_a_socket_is_closed(site: Callable[..., Site]) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(site().app({**scope("GET", COMPLETIONS, {}), "type": "websocket"}, lambda: None, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]


# Web pages.


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:9000", "http://[", "127.0.0.1:8123"]
)
def test_another_sites_page_is_refused(site: Callable[..., Site], behind: Behind, origin: str) -> None:
    answer = site().post(COMPLETIONS, HELLO, origin=origin, content_type="text/plain")
    assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")
    assert not behind.asked


def test_a_page_of_its_own_is_answered(site: Callable[..., Site]) -> None:
    assert site().post(COMPLETIONS, HELLO, origin="http://127.0.0.1:8123").status == 200
    assert site().post(COMPLETIONS, HELLO, host="LocalHost:8123", origin="http://localhost:8123").status == 200


def test_no_page_is_told_that_it_may_read(site: Callable[..., Site]) -> None:
    foreign = {"origin": "https://evil.example", "access_control_request_method": "POST"}
    answers = [site().get("/v1/models", **foreign), site().ask("OPTIONS", COMPLETIONS, [b""], foreign)]
    assert [answer.status for answer in answers] == [200, 403]
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "host", ["evil.example:8123", "localhost.evil.example", "10.0.0.5:8123", "", "[", "127.0.0.1@x"]
)
def test_without_keys_a_name_that_anyone_could_own_is_not_answered(
    site: Callable[..., Site], behind: Behind, host: str
) -> None:
    """A page can give its name this machine's address; then it is of the same origin."""
    answer = site().post(COMPLETIONS, HELLO, host=host, origin=f"http://{host}")
    assert (answer.status, answer.error["code"]) == (403, "host_not_allowed")
    assert site().get("/v1/models", host=host).status == 403
    assert not behind.asked


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8123", "localhost:1", "[::1]:8123", "[::1]", "127.8.8.8:1"])
def test_without_keys_this_machine_is_answered(site: Callable[..., Site], host: str) -> None:
    assert site().post(COMPLETIONS, HELLO, host=host).status == 200


def test_with_keys_any_name_is_answered(site: Callable[..., Site], key_file: Path, ann: str) -> None:
    here = site(keys=key_file)
    assert here.post(COMPLETIONS, HELLO, host="models.example", authorization=ann).status == 200


# Bodies.


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


# Limits.


def test_requests_are_counted_for_each_key(site: Callable[..., Site], behind: Behind, key_file: Path, ann: str) -> None:
    bob = f"Bearer {keys.create(key_file, 'bob')}"
    here = site(keys=key_file, requests_per_minute=2)
    assert [here.post(COMPLETIONS, HELLO, authorization=ann).status for _ in range(3)] == [200, 200, 429]
    assert here.get("/v1/models", authorization=ann).status == 429
    assert here.post(COMPLETIONS, HELLO, authorization=bob).status == 200
    refused = here.post(COMPLETIONS, HELLO, authorization=ann)
    assert (refused.error["code"], refused.headers["retry-after"]) == ("rate_limit_exceeded", "30")
    behind.now += 30
    assert here.post(COMPLETIONS, HELLO, authorization=ann).status == 200


def test_without_keys_all_share_the_limits(site: Callable[..., Site]) -> None:
    here = site(requests_per_minute=1)
    assert [here.post(COMPLETIONS, HELLO).status for _ in range(2)] == [200, 429]


def test_tokens_are_counted_before_and_set_right_by_the_usage_after(site: Callable[..., Site], behind: Behind) -> None:
    here = site(tokens_per_minute=100)
    large = {**HELLO, "max_tokens": 60}
    assert [here.post(COMPLETIONS, large).status for _ in range(3)] == [200, 200, 200]  # 5 each, it turns out
    assert [visit.tokens for visit in behind.visits] == [5, 5, 5]
    most = {**HELLO, "max_tokens": 78}  # and 19 or 20 for the body itself: no 85 are left
    refused = here.post(COMPLETIONS, most)
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert 0 < int(refused.headers["retry-after"]) <= 60


def test_a_request_that_no_minute_could_hold_is_not_told_to_wait(site: Callable[..., Site]) -> None:
    answer = site(tokens_per_minute=100).post(COMPLETIONS, {**HELLO, "max_tokens": 101})
    assert answer.status == 400
    assert "100 are let through in a minute" in answer.error["message"]


def test_a_refused_request_costs_no_tokens(site: Callable[..., Site], behind: Behind) -> None:
    here = site(tokens_per_minute=100)
    assert [here.post(COMPLETIONS, {**HELLO, "prompt": "unfit", "max_tokens": 60}).status for _ in range(3)] == [
        400
    ] * 3
    assert [visit.tokens for visit in behind.visits] == [0, 0, 0]


def test_max_tokens_above_the_limit_is_refused_in_words(site: Callable[..., Site], behind: Behind) -> None:
    here = site(tokens_per_request=50)
    answer = here.post(COMPLETIONS, {**HELLO, "max_tokens": 10**6})
    assert answer.status == 400
    assert "1000000 tokens are asked for in all; at most 50 here" in answer.error["message"]
    chat = {"model": "student", "messages": []}
    assert here.post(CHAT, chat).status == 200
    assert behind.asked == [{**chat, "max_tokens": 50}]


# Answers.


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
