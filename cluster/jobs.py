"""Jobs on a running cluster, by Ray's Jobs API: handed over, followed, listed, stopped.

Knows the API's client, what may go wrong between here and a cluster's dashboard, and how to go on after a dropped
connection. Does not know recipes: a job is a command, and what travels with it is in `baggage.py`.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pipelines.core.errors import Unreachable, UserError

OURS = "tutelage-"  # how the ids of our jobs begin
REQUEST_S = 60.0  # a request without an answer for so long has failed
SILENCE_S = 60.0  # a log that says nothing for so long is asked for anew: a connection may be dead without a word
AGAIN_S = 2.0
PATIENCE_S = 300.0  # for how long a cluster that does not answer is asked again
STOPPING_S = 60.0


@dataclass(frozen=True)
class Job:
    """A job as its cluster tells it. Maker: `Jobs`. Readers: the commands."""

    id: str
    status: str
    is_over: bool
    exit_code: int  # of its command; 1 where it ended without one, 0 while it has none
    why: str  # what Ray says of one whose command did not come to its own end
    started: float
    ended: float | None
    about: Mapping[str, str]  # what was said of it when it was handed over


@dataclass
class _Shown:
    """How much of a log has been shown. A tail begins at the log's beginning, each time."""

    say: Callable[[str], None]
    upto: int = 0

    def show(self, text: str, at: int = 0) -> None:
        """Show what is new of a text that stands at this place in the log."""
        if at + len(text) > self.upto:
            self.say(text[max(0, self.upto - at) :])
            self.upto = at + len(text)


@dataclass
class Jobs:
    """The jobs of one cluster. UserError where the address or the token is wrong, Unreachable where nobody answers."""

    address: str
    _client: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.address = dashboard(self.address)
        with _in_words(self.address):
            self._client = _client(self.address)

    def submit(self, id: str, command: str, runtime_env: Mapping[str, Any], about: Mapping[str, str]) -> None:
        """Hand a command over. It runs on the head and takes no CPU of it. UserError where there is such a job."""
        with _in_words(self.address, taken=id):
            self._client.submit_job(
                entrypoint=command, submission_id=id, runtime_env=dict(runtime_env), metadata=dict(about)
            )

    def ours(self) -> list[Job]:
        """Those whose ids say that they are tutelage's, newest first."""
        with _in_words(self.address):
            found = [d for d in self._client.list_jobs() if (d.submission_id or "").startswith(OURS)]
        return sorted(map(_job, found), key=lambda job: -job.started)

    def job(self, id: str) -> Job:
        with _in_words(self.address, missing=id):
            return _job(self._client.get_job_info(id))

    def log(self, id: str) -> str:
        """All that it has written so far."""
        with _in_words(self.address, missing=id):
            return str(self._client.get_job_logs(id))

    def follow(self, id: str, say: Callable[[str], None], note: Callable[[str], None]) -> Job:
        """Show its log as it grows, until it has ended. What a dropped connection left out is shown later."""
        shown = _Shown(say)
        lost: float | None = None  # since when nobody answers
        while True:
            asyncio.run(self._tail(id, shown))
            try:
                job = self.job(id)  # before the log, which then is all of an ended job's
                shown.show(self.log(id))
                lost = None
                if job.is_over:
                    return job
            except Unreachable:
                if lost is None:
                    lost = time.monotonic()
                    note(f"the connection to {self.address} is lost; the job goes on, and is looked for again")
                if time.monotonic() - lost > PATIENCE_S:
                    raise
            time.sleep(AGAIN_S)

    def stop(self, id: str) -> Job:
        """Stop it, where it has not ended, and wait for its end."""
        with _in_words(self.address, missing=id):
            self._client.stop_job(id)
        return self.ended(id, STOPPING_S)

    def ended(self, id: str, within_s: float) -> Job:
        """Wait for its end. Unreachable where that does not come."""
        deadline = time.monotonic() + within_s
        while not (job := self.job(id)).is_over:
            if time.monotonic() > deadline:
                raise Unreachable(f"{id} is {job.status} still, after {within_s:.0f} s")
            time.sleep(0.5)
        return job

    def forget(self, id: str) -> None:
        """Take an ended job off the cluster's list."""
        with _in_words(self.address, missing=id):
            self._client.delete_job(id)

    async def _tail(self, id: str, shown: _Shown) -> None:
        """Show what comes; returns when nothing comes any more, for whatever reason."""
        import aiohttp

        read, chunks = 0, self._client.tail_job_logs(id)
        try:
            while True:
                text = await asyncio.wait_for(anext(chunks), SILENCE_S)
                shown.show(text, read)
                read += len(text)
        except (StopAsyncIteration, OSError, aiohttp.ClientError, RuntimeError):
            return  # silence is an OSError, what the client makes of an unclean end a RuntimeError


def dashboard(address: str) -> str:
    """The address, where it can be a dashboard's. UserError for the other addresses that a cluster has."""
    url = urlsplit(address)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UserError(
            f"--address {address}: jobs are handed over to the cluster's dashboard, whose address looks like "
            "http://HEAD:8265 (HEAD:6379 and ray://HEAD:10001 are other doors of a cluster)"
        )
    return address.rstrip("/")


def _client(address: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):
        """Ray's own, whose requests would wait for ever."""

        def _do_request(self, method: str, endpoint: str, **more: Any) -> Any:
            return super()._do_request(method, endpoint, timeout=REQUEST_S, **more)

    for name in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{name}").setLevel(logging.ERROR)
    os.environ["RAY_API_SERVER_ADDRESS"] = address  # or Ray would take RAY_ADDRESS in place of what it is told
    return Client(address)


@contextmanager
def _in_words(address: str, missing: str = "", taken: str = "") -> Iterator[None]:
    """What Ray's client raises, as what the user can do."""
    import requests
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise UserError(_token_words(address, refused="Authentication failed" in str(error))) from error
    except (ConnectionError, requests.RequestException) as error:
        raise Unreachable(
            f"no Ray dashboard answers at {address} ({type(error).__name__}). Is the cluster up, and is this its "
            "dashboard's port (8265 unless it was started with another)? From outside of its network, forward the "
            "port: `ssh -L 8265:localhost:8265 HEAD`, or `kubectl port-forward service/NAME-head-svc 8265`"
        ) from error
    except RuntimeError as error:
        words = str(error)
        if missing and "status code 404" in words:
            raise UserError(
                f"there is no job {missing!r} at {address}; `tutelage jobs --address {address}` lists them"
            ) from error
        if taken and "already exists" in words:
            raise UserError(f"a job {taken!r} was handed over just now by somebody else; follow that one") from error
        raise Unreachable(f"the dashboard at {address} says: {words}") from error


def _token_words(address: str, refused: bool) -> str:
    wants = "takes another token than the one it was sent" if refused else "wants a token"
    return (
        f"the cluster at {address} {wants}: set RAY_AUTH_MODE=token, with the token in RAY_AUTH_TOKEN, in a file that "
        "RAY_AUTH_TOKEN_PATH names, or in ~/.ray/auth_token (`ray get-auth-token`, on the head, prints it)"
    )


def _job(details: Any) -> Job:
    status, is_over = str(details.status), details.status.is_terminal()
    code = details.driver_exit_code if details.driver_exit_code is not None else int(status != "SUCCEEDED")
    return Job(
        id=details.submission_id or details.job_id,
        status=status,
        is_over=is_over,
        exit_code=(code if 0 <= code < 256 else 1) if is_over else 0,
        why=details.message or "" if details.driver_exit_code is None else "",
        started=(details.start_time or 0) / 1000,
        ended=details.end_time / 1000 if details.end_time else None,
        about=details.metadata or {},
    )
