"""A Ray cluster's dashboard in a thread, which has the Jobs API and misbehaves on demand.

Knows the API as it is on the wire (Ray 2.60). Runs nothing: a test says what a job's log holds and how it ends.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class FakeJob:
    """One job as the dashboard tells it. `log` is all that it has written."""

    sent: dict[str, Any]
    log: str = ""
    status: str = "SUCCEEDED"
    exit_code: int | None = 0
    message: str = ""

    def told(self) -> dict[str, Any]:
        over = self.status not in ("PENDING", "RUNNING")
        return {
            "type": "SUBMISSION", "submission_id": self.sent["submission_id"], "entrypoint": self.sent["entrypoint"],
            "status": self.status, "message": self.message, "metadata": self.sent.get("metadata") or {},
            "start_time": int(time.time() * 1000), "end_time": int(time.time() * 1000) if over else None,
            "driver_exit_code": self.exit_code if over else None,
        }  # fmt: skip


@dataclass
class Dashboard:
    """`jobs` and `packages` have what was sent, `bodies` every byte of it. `begin` says what becomes of a new job."""

    token: str = ""
    begin: Callable[[FakeJob], None] = lambda job: None
    cuts: list[int] = field(default_factory=list)  # a tail breaks off after so many letters, one after the other
    down: int = 0  # so many requests for a job fail as where a cluster is away
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    packages: dict[str, bytes] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self._serve, args=(ready,), daemon=True).start()
        assert ready.wait(30)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(middlewares=[self._guard], client_max_size=2**28)
        app.add_routes([
            web.get("/api/version", self._version),
            web.get("/api/packages/{protocol}/{name}", self._has_package),
            web.put("/api/packages/{protocol}/{name}", self._put_package),
            web.post("/api/jobs/", self._submit),
            web.get("/api/jobs/", self._list),
            web.get("/api/jobs/{id}", self._job),
            web.delete("/api/jobs/{id}", self._delete),
            web.post("/api/jobs/{id}/stop", self._stop),
            web.get("/api/jobs/{id}/logs", self._logs),
            web.get("/api/jobs/{id}/logs/tail", self._tail),
        ])  # fmt: skip
        self._runner = web.AppRunner(app)
        self._loop.run_until_complete(self._runner.setup())
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        ready.set()
        self._loop.run_forever()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        said = request.headers.get("Authorization", "")
        if self.token and said != f"Bearer {self.token}":
            return web.Response(status=403 if said else 401, text="Forbidden" if said else "Unauthorized")
        self.bodies.append(await request.read())
        if (name := request.match_info.get("id")) and name not in self.jobs:
            return web.Response(status=404, text=f"Job {name} does not exist")
        response: web.StreamResponse = await handler(request)
        return response

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": "2.60.0", "ray_commit": "", "session_name": ""})

    async def _has_package(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["name"] in self.packages else 404)

    async def _put_package(self, request: web.Request) -> web.Response:
        self.packages[request.match_info["name"]] = await request.read()
        return web.Response()

    async def _submit(self, request: web.Request) -> web.Response:
        sent = json.loads(await request.read())
        if sent["submission_id"] in self.jobs:
            return web.Response(status=500, text=f"Job with submission_id {sent['submission_id']} already exists.")
        job = FakeJob(sent)
        self.begin(job)
        self.jobs[sent["submission_id"]] = job
        return web.json_response({"job_id": sent["submission_id"], "submission_id": sent["submission_id"]})

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response([job.told() for job in self.jobs.values()])

    async def _job(self, request: web.Request) -> web.Response:
        if self.down > 0:
            self.down -= 1
            assert request.transport is not None
            request.transport.close()
        return web.json_response(self.jobs[request.match_info["id"]].told())

    async def _delete(self, request: web.Request) -> web.Response:
        del self.jobs[request.match_info["id"]]
        return web.json_response({"deleted": True})

    async def _stop(self, request: web.Request) -> web.Response:
        job = self.jobs[request.match_info["id"]]
        running = job.status == "RUNNING"
        if running:
            job.status, job.exit_code = "STOPPED", None
        return web.json_response({"stopped": running})

    async def _logs(self, request: web.Request) -> web.Response:
        return web.json_response({"logs": self.jobs[request.match_info["id"]].log})

    async def _tail(self, request: web.Request) -> web.WebSocketResponse:
        """From the beginning, in pieces of any length, until the job has ended."""
        job, socket, sent = self.jobs[request.match_info["id"]], web.WebSocketResponse(), 0
        await socket.prepare(request)
        cut = self.cuts.pop(0) if self.cuts else None
        while True:
            over, log = job.status != "RUNNING", job.log
            for at in range(sent, len(log), 7):
                if cut is not None and at >= cut:
                    assert request.transport is not None
                    request.transport.close()
                    return socket
                await socket.send_str(log[at : at + 7])
            sent = len(log)
            if over:
                return socket
            await asyncio.sleep(0.02)
