"""What stands before every application that is served: who may come in, from where, how often, with how much.

Knows ASGI, keys and limits. Does not know what is behind it, nor Ray. Requests are read whole before they go on, as
their tokens are counted; answers go through as they come. Health, and what else holds no data, is told to everyone.
"""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import ceil

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.core.errors import UserError
from serving import asked
from serving.asked import Asked
from serving.door import Door, is_loopback
from serving.keys import LiveKeys
from serving.limits import Allowance, Clock
from serving.refusals import Refused, refusal
from serving.reply import Reply

OPEN_PATHS = ("/health", "/ready")
HARMLESS = ("GET", "HEAD")  # a web page may send these anywhere, and cannot read what comes back
PORT = re.compile(r":\d*$")
LEFT = 499  # the status of an answer that nobody waited for


@dataclass
class Visit:
    """One request, as metrics see it; made while it is let in."""

    key: str = ""
    model: str = ""
    status: int = 0
    tokens: int = 0
    seconds: float = 0.0


Observe = Callable[[Visit], None]


class _Gone(Exception):
    """The client left while its request was being read."""


class Gate:
    """ASGI middleware; made in the process that serves, where `observer` is called once."""

    def __init__(
        self,
        app: ASGIApp,
        door: Door,
        models: Sequence[str],
        observer: Callable[[], Observe],
        clock: Clock = time.monotonic,
        open_paths: Collection[str] = OPEN_PATHS,
    ) -> None:
        self._app, self._door, self._models, self._clock = app, door, models, clock
        self._open_paths = open_paths
        self._keys = LiveKeys(door.keys) if door.keys else None
        self._allowances: defaultdict[str, Allowance] = defaultdict(lambda: Allowance(door.limits, clock))
        self._observe = observer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and _path(scope) in self._open_paths):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._visit(scope, receive, Reply(send))
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _visit(self, scope: Scope, receive: Receive, reply: Reply) -> None:
        visit, began = Visit(), self._clock()
        try:
            await self._let_in(visit, scope, receive, reply)
        except Refused as no:
            await refusal(no.status, str(no), no.code, no.headers)(scope, receive, reply.send)
        except _Gone:
            visit.status = LEFT
        except asyncio.CancelledError:
            visit.status = LEFT
            raise
        finally:
            visit.status = visit.status or reply.status or 500
            visit.seconds = self._clock() - began
            self._observe(visit)

    async def _let_in(self, visit: Visit, scope: Scope, receive: Receive, reply: Reply) -> None:
        headers = Headers(scope=scope)
        self._check_origin(scope["method"], headers)
        visit.key = self._key(headers)
        allowance = self._allowances[visit.key]
        _check_wait("requests", allowance.request())
        if scope["method"] != "POST":
            await self._app(_without(scope, "authorization"), receive, reply.send)
            return
        body = await self._body(headers, receive)
        request = asked.read(body, _path(scope), self._models, self._door.limits.tokens_per_request)
        visit.model = request.model
        self._check_tokens(request, allowance)
        length = (b"content-length", str(len(request.body)).encode())
        passed_on = _without(scope, "authorization", "content-length", "transfer-encoding")
        passed_on["headers"].append(length)
        try:
            await self._app(passed_on, _again(request.body, receive), reply.send)
        finally:
            visit.tokens = reply.used(request.prompt_tokens, request.tokens)
            allowance.settle(request.tokens, visit.tokens)

    def _check_origin(self, method: str, headers: Headers) -> None:
        """A web page that someone looks at on this machine must not speak for them."""
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        if self._keys is None and not is_loopback(PORT.sub("", host).strip("[]")):
            # A page can give its own name this machine's address, and is then of one origin with what is served here.
            raise Refused(403, "without keys this server answers at 127.0.0.1 and localhost only", "host_not_allowed")
        if origin is not None and method not in HARMLESS and origin.lower().partition("://")[2] != host:
            raise Refused(403, "requests from other sites' pages are not answered", "origin_not_allowed")

    def _key(self, headers: Headers) -> str:
        """The name of the client's key; "" where none is needed."""
        if self._keys is None:
            return ""
        scheme, _, presented = headers.get("authorization", "").partition(" ")
        try:
            name = self._keys.name_of(presented.strip().encode("latin-1"))
        except UserError as error:
            raise Refused(
                503, "this server cannot read its keys, and lets nobody in until it can", "no_keys"
            ) from error
        if name is None or scheme.lower() != "bearer":
            words = "this server needs a key that is valid: Authorization: Bearer KEY"
            raise Refused(401, words, "invalid_api_key", {"WWW-Authenticate": "Bearer"})
        return name

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        limits, body = self._door.limits, bytearray()
        too_large = Refused(413, f"the body is larger than {limits.body_bytes} bytes", "body_too_large")
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limits.body_bytes:
            raise too_large
        try:
            async with asyncio.timeout(limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    body += message.get("body", b"")
                    if len(body) > limits.body_bytes:
                        raise too_large
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError as error:
            # What may still come would be taken for the next request.
            words = f"the body did not come within {limits.body_s:g} s"
            raise Refused(408, words, "body_timeout", {"Connection": "close"}) from error

    def _check_tokens(self, request: Asked, allowance: Allowance) -> None:
        most = self._door.limits.tokens_per_minute
        if most is not None and request.tokens > most:
            raise Refused(400, f"{request.tokens} tokens in one request; {most} are let through in a minute", "tokens")
        _check_wait("tokens", allowance.tokens(request.tokens))


def _check_wait(what: str, seconds: float) -> None:
    if seconds:
        wait = {"Retry-After": str(ceil(seconds))}
        raise Refused(429, f"too many {what} a minute; try again in {ceil(seconds)} s", "rate_limit_exceeded", wait)


def _path(scope: Scope) -> str:
    """Within the application, which may have a path of its own before it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _without(scope: Scope, *names: str) -> Scope:
    """The request without these headers; nothing behind the gate is to see a key, or to log it."""
    left_out = [name.encode() for name in names]
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name not in left_out]}


def _again(body: bytes, receive: Receive) -> Receive:
    """The body that was read, in one piece; then whatever else comes, such as that the client has left."""
    pieces = [body]

    async def receive_again() -> Message:
        return {"type": "http.request", "body": pieces.pop(), "more_body": False} if pieces else await receive()

    return receive_again
