"""An answer on its way to the client: its status, and how many tokens it tells of or brings.

Knows ASGI's messages, and OpenAI's usage and streams. Holds nothing back but an error that comes in plain text, as
Serve's own do: such a one is put into the shape of all others.
"""

import re
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Message, Send

from serving.refusals import refusal

# No text of an answer can look like this: within one, quotes have a backslash before them.
TOTAL = re.compile(rb'"total_tokens":\s*(\d+)')
LONGEST_MARK = 64  # bytes of it, which two chunks may share
EVENT = b"data: "


class Reply:
    """Sends an answer on, and remembers."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None  # until the answer begins
        self._told: int | None = None
        self._events = 0
        self._tail = b""
        self._plain: bytes | None = None  # what has come of an error in plain text

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if message["status"] >= 400 and "json" not in Headers(raw=message["headers"]).get("content-type", ""):
                self._plain = b""
        elif message["type"] == "http.response.body":
            self._look(message.get("body", b""))
        if self._plain is None:
            await self._send(message)
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            await self._shaped(self._plain.decode(errors="replace"))

    def used(self, prompt_tokens: int, at_most: int) -> int:
        """Tokens that this request cost, as far as its answer says; else what it could cost."""
        if self.status is not None and self.status >= 400:
            return 0
        if self._told is not None:
            return self._told
        return prompt_tokens + self._events if self._events else at_most

    def _look(self, chunk: bytes) -> None:
        if self._plain is not None:
            self._plain += chunk
            return
        self._events += chunk.count(EVENT)
        seen = self._tail + chunk
        for told in TOTAL.finditer(seen):
            self._told = int(told[1])
        self._tail = seen[-LONGEST_MARK:]

    async def _shaped(self, words: str) -> None:
        assert self.status is not None, "an answer has begun"
        await refusal(self.status, words or "no reason is given")({"type": "http"}, _nothing, self._send)


async def _nothing() -> Any:
    raise AssertionError("a refusal reads no request")
