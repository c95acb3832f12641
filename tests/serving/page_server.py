"""The page and models to compare, served for real in a thread: the gate, and behind it streams in vLLM's shape.

Knows what vLLM sends of a chat that streams. Each model does what a test has written down for it.
"""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from serving.asked import CHAT
from serving.door import Door
from serving.gate import OPEN_PATHS, Gate
from serving.refusals import worded
from serving.shown import RowsFile
from serving.site import OPEN_PATHS as OF_THE_SITE
from serving.site import Site

Event = dict[str, Any]
HOLD: Event = {"hold": True}  # stay here until the test lets go, or the client leaves
BREAK: Event = {"break": True}  # say no more, as a server that dies


def told(content: str, *tokens: tuple[str, float], finish: str | None = None) -> Event:
    """A chunk with this text, made of these (token, log-probability)."""
    logprobs = {"content": [{"token": t, "logprob": p, "bytes": None, "top_logprobs": []} for t, p in tokens]}
    choice = {"index": 0, "delta": {"content": content}, "logprobs": logprobs, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "choices": [choice]}


def one(token: str, logprob: float = -0.05) -> Event:
    """A chunk of one token."""
    return told(token, (token, logprob))


def end(tokens: int, finish: str = "stop") -> list[Event]:
    """The last two chunks: why it ends, and how many tokens that were."""
    usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}
    return [told("", finish=finish), {"object": "chat.completion.chunk", "choices": [], "usage": usage}]


FIRST: Event = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}


@dataclass
class Models:
    """What each model sends, event by event, or its refusal."""

    scripts: Mapping[str, Sequence[Event] | Response]
    asked: list[Event] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # whose clients went before the end
    pause_s: float = 0.0
    go_on: bool = False

    def join(self, app: FastAPI) -> None:
        app.get("/v1/models")(self.listed)
        app.post(CHAT)(self.chat)

    async def listed(self) -> Event:
        return {"object": "list", "data": [{"id": name, "object": "model"} for name in self.scripts]}

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        script = self.scripts[body["model"]]
        if isinstance(script, Response):
            return script
        return StreamingResponse(self._events(body["model"], script), media_type="text/event-stream")

    async def _events(self, model: str, script: Sequence[Event]) -> AsyncIterator[str]:
        try:
            for event in (FIRST, *script):
                while event is HOLD and not self.go_on:
                    await asyncio.sleep(0.02)
                if event is HOLD:
                    continue
                if event is BREAK:
                    return
                yield f"data: {json.dumps(event)}\n\n"
                await asyncio.sleep(self.pause_s)
            yield "data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.left.append(model)
            raise


def refused(status: int, words: str, **headers: str) -> Response:
    """In the shape of our refusals."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse({"error": {"message": words, "type": "x", "param": None, "code": None}}, status, named)


class PageServer:
    """Uvicorn in a thread, on a free port of this machine."""

    def __init__(self, models: Models, door: Door | None = None, rows: RowsFile | None = None) -> None:
        app = worded()
        open_paths = (*OPEN_PATHS, *OF_THE_SITE)
        names, door = tuple(models.scripts), door or Door()
        app.add_middleware(Gate, door=door, models=names, observer=lambda: lambda _: None, open_paths=open_paths)
        models.join(app)
        Site(rows).join(app)
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def close(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)
