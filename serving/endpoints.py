"""Models as OpenAI-compatible endpoints on Ray Serve, and other applications behind the same address.

Knows Serve applications: start, adopt, stop. An application's name hashes what it serves and to whom, so a rerun that
finds it on a live cluster adopts it. Serve's HTTP port is not covered by Ray's token: who may come in, the door says.
"""

import errno
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cluster.session import Session, quiet_logs
from pipelines.core.errors import UserError
from pipelines.core.hashing import key_of
from serving import users
from serving.door import HOST, Door
from serving.holding import holding
from serving.served import Served
from serving.shown import RowsFile
from serving.site import Site

DEFAULT_PORT = 8123
QUIET = {"log_level": "WARNING", "enable_access_log": False}


@dataclass
class Endpoints:
    """The Serve applications of this session. `close` stops those that no other uses, and Serve where none is left."""

    session: Session
    port: int = DEFAULT_PORT
    door: Door = field(default_factory=Door)
    in_turns: bool = False  # there is no room for two applications, nor for one beside other work
    named: bool = False  # somebody asked for this port: no other will do
    _apps: dict[str, str] = field(default_factory=dict)  # base URL -> application
    _used: list[str] = field(default_factory=list)  # base URLs of those that are wanted still
    _http_up: bool = False

    def up(self, models: list[Served], *, at_root: bool = False, rows: RowsFile | None = None) -> str:
        """Serve these models behind one address, ready to be asked; returns its base URL (`…/v1`)."""
        base_url = self.start(models, at_root=at_root, rows=rows)
        self.wait(base_url)
        return base_url

    def start(self, models: list[Served], *, at_root: bool = False, rows: RowsFile | None = None) -> str:
        """Begin to serve these models; returns the base URL at once.

        A path of its own tells an application from others behind the same port, and none can be asked in its place.
        `at_root` has it at the port's own `/v1`: what a person types. A page for them is beside it, with these `rows`.
        """
        site = Site(rows) if at_root else None
        meaning = [*(model.meaning for model in models), repr(rows)]
        return self._start(meaning, lambda: holding(models, self.session, self.door, site), at_root)

    def up_alone(self, meaning: Sequence[Any], make: Callable[[], Any]) -> str:
        """Serve an application that holds no such model, at the port's own `/v1`; returns that base URL.

        `meaning` says what it serves: it tells one from another, as models' digests do.
        """
        base_url = self._start(meaning, make, at_root=True)
        self.wait(base_url)
        return base_url

    def _start(self, meaning: Sequence[Any], make: Callable[[], Any], at_root: bool) -> str:
        """Adopt the application of this meaning where there is one."""
        from ray import serve

        app = "tutelage-" + key_of(at_root, repr(self.door), *meaning)
        self._start_http()
        path = "" if at_root else f"/{app}"
        base_url = f"http://{self.door.reached_at}:{self.port}{path}/v1"
        self._apps[base_url] = app
        is_new = app not in serve.status().applications
        if is_new:
            self.make_way()
        if base_url not in self._used:
            users.use(app)
            self._used.append(base_url)
        if is_new:
            serve.run(make(), name=app, route_prefix=path or "/", blocking=False)
        return base_url

    def wait(self, base_url: str) -> None:
        """Until the application behind this address is ready. RuntimeError, with Serve's words, where it fails."""
        _wait_until_running(self._apps[base_url])

    def make_way(self) -> None:
        """Stop what this session uses, where it would stand in the way of what comes now."""
        if self.in_turns:
            self._down_all()

    def down(self, base_url: str) -> None:
        """Stop an application that this session uses, where it is the last to do so."""
        from ray import serve

        if base_url in self._used:
            self._used.remove(base_url)
            if users.leave(app := self._apps[base_url]):
                serve.delete(app)

    def close(self) -> None:
        """Where Serve listens is fixed when it starts: one that stays would turn away whoever wants another port."""
        self._down_all()
        if self._apps and self.session.outlives:
            from ray import serve

            if not serve.status().applications:
                serve.shutdown()
                self._http_up = False

    def _down_all(self) -> None:
        for base_url in list(self._used):
            self.down(base_url)

    def _start_http(self) -> None:
        """Where Serve listens is fixed when it starts: one that is up already, as a driver that was killed left it, is
        taken as it is. UserError where it listens elsewhere than is asked for."""
        if self._http_up:
            return
        from ray import serve
        from ray.serve.context import _get_global_client

        quiet_logs()
        serve.start(http_options=http_options(self.door, self.port), logging_config=QUIET)
        quiet_logs()
        listens = _get_global_client().http_config  # Serve has no public word for it
        if listens.host != self.door.host or (self.named and listens.port != self.port):
            raise UserError(
                f"Ray Serve is up on this cluster and listens on {listens.host}:{listens.port}, not on "
                f"{self.door.host}:{self.port}; leave --host and --port away, or shut it down (`serve shutdown`)"
            )
        self.port, self._http_up = listens.port, True


def http_options(door: Door, port: int) -> dict[str, Any]:
    """Where Serve listens, and for how long an answer may be written."""
    return {"host": door.host, "port": port, "request_timeout_s": 3600}


@contextmanager
def held_port(wanted: int | None, host: str = HOST) -> Iterator[int]:
    """`wanted`, refused in words where it is taken; without a wish, the default or any free one.

    While it is held no other can take it, but Serve can listen on it, as it shares ports.
    """
    for port in [wanted] if wanted else [DEFAULT_PORT, 0]:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind((host, port))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise UserError(f"--host {host} is not an address of this machine") from error
                continue
            # Only now, or two that look at once would both have it: from here on it is shared with who shares ports.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            yield int(holder.getsockname()[1])
            return
    raise UserError(f"port {wanted} is in use on this machine; choose another with --port")


def _wait_until_running(app: str, timeout_s: float = 1800.0) -> None:
    from ray import serve

    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        application = serve.status().applications[app]
        if application.status == "RUNNING":
            return
        if application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise RuntimeError(f"serving failed: {application.message}")
        time.sleep(0.5)
    raise RuntimeError(f"serving {app} did not come up within {timeout_s:.0f} s")
