"""A local S3 API for tests, and a network before it that fails.

Knows moto's server and plain HTTP. Does not know folders or runs.
"""

import http.client
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Trouble = Literal["503", "lost", "cut", "stall"]
BUCKET = "bucket"


@contextmanager
def moto() -> Iterator[int]:
    """The port of a server with one bucket."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    to_moto = http.client.HTTPConnection("127.0.0.1", port)
    to_moto.request("PUT", f"/{BUCKET}")
    assert to_moto.getresponse().status == 200
    try:
        yield port
    finally:
        server.stop()


def uri(port: int, folder: str) -> str:
    return f"s3://{BUCKET}/{folder}?endpoint_override=127.0.0.1%3A{port}&scheme=http"


class Flaky(ThreadingHTTPServer):
    """Hands requests on, but where `trouble(n, request)` says so: n counts from 1, a request is "PUT /bucket/name".

    503: it says so. lost: the request is done, and the answer never comes. cut: the answer ends in its middle.
    stall: nothing comes for as long as the test lasts.
    """

    daemon_threads = True

    def __init__(self, port: int, trouble: Callable[[int, str], Trouble | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.trouble = port, trouble
        self.seen: list[str] = []
        self.over = threading.Event()
        self._turn = threading.Lock()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def met(self, request: str) -> Trouble | None:
        """What is to become of this request."""
        with self._turn:
            self.seen.append(request)
            return self.trouble(len(self.seen), request)

    def __enter__(self) -> "Flaky":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Flaky

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        trouble = self.server.met(f"{self.command} {self.path}")
        if trouble == "stall":
            self.server.over.wait()
            self.close_connection = True
            return
        if trouble == "503":
            self._answer(503, [], b"slow down")
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream)
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        said = answer.read()
        upstream.close()
        if trouble == "lost":
            self.close_connection = True
            return
        headers = [(k, v) for k, v in answer.getheaders() if k.lower() not in ("connection", "transfer-encoding")]
        self._answer(answer.status, headers, said, cut=trouble == "cut")

    def _answer(self, status: int, headers: list[tuple[str, str]], said: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said[: len(said) // 2] if cut else said)
        self.close_connection = cut

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""
