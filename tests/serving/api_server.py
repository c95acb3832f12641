"""An OpenAI-compatible API in a thread, which misbehaves on demand.

Knows HTTP as it is on the wire; nothing of the client is used here.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Wire:
    """What goes back over the wire. `cut` bytes are promised and never sent; a status of 0 hangs up at once."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    after_s: float = 0.0


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    path: str
    key: str
    body: dict[str, Any]

    @property
    def prompt(self) -> Any:
        return self.body["messages"][0]["content"] if "messages" in self.body else self.body["prompt"]


def says(text: str, finish: str = "stop", **more: Any) -> Wire:
    """A good reply to either kind of request."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "text": text, "finish_reason": finish}
    usage = {"prompt_tokens": 7, "completion_tokens": len(text.split()), "total_tokens": 0}
    return Wire(body=json.dumps({"choices": [{**choice, **more}], "usage": usage}).encode())


class ApiServer:
    """`behave` answers each request; `asked` has them all, in the order in which they came."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.behave: Callable[[Asked], Wire] = lambda asked: says(f"Yes: {asked.prompt}")
        self.under_way = self.most_under_way = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def then(self, *first: Wire) -> None:
        """These replies first, one each, and good ones after them."""
        left = iter(first)
        self.behave = lambda asked: next(left, says("At last."))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                if len(body) < length:  # the client went away
                    return
                asked = Asked(self.path, self.headers.get("Authorization", ""), json.loads(body))
                with server._lock:
                    server.asked.append(asked)
                    wire = server.behave(asked)
                    server.under_way += 1
                    server.most_under_way = max(server.most_under_way, server.under_way)
                try:
                    self._send(wire)
                finally:
                    with server._lock:
                        server.under_way -= 1

            def _send(self, wire: Wire) -> None:
                time.sleep(wire.after_s)
                self.close_connection = bool(wire.cut) or not wire.status
                if not wire.status:
                    return
                self.send_response(wire.status)
                for name, value in wire.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(wire.body) + wire.cut))
                self.end_headers()
                self.wfile.write(wire.body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
