"""A small application that streams, behind the gate, in this process: ASGI messages in and out, and no Ray."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel
from starlette.types import Message

from serving.asked import CHAT, COMPLETIONS
from serving.door import Door
from serving.gate import Gate, Visit
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
