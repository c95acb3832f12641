"""Jobs by Ray's own client against a dashboard in a thread: what is sent, shown and said. Starts no Ray."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from dashboard import Dashboard, FakeJob

from cluster import jobs as jobs_of_ray
from cluster.jobs import Job, Jobs
from pipelines.core.errors import Unreachable, UserError

LINES = [f"  answers  {n}/40 rows\n" for n in range(40)]
LOG = "".join(LINES)


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")  # and set back after what a client makes of it
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    monkeypatch.setattr(jobs_of_ray, "AGAIN_S", 0.05)
    running = Dashboard()
    yield running
    running.close()


@pytest.fixture
def jobs(dashboard: Dashboard) -> Jobs:
    return Jobs(dashboard.url)


def running(dashboard: Dashboard, log: str = "", id: str = "tutelage-toy") -> FakeJob:
    """A job that is at work, as somebody handed it over."""
    dashboard.jobs[id] = FakeJob({"submission_id": id, "entrypoint": "true"}, log, "RUNNING")
    return dashboard.jobs[id]


def write(job: FakeJob, lines: list[str], exit_code: int = 0) -> threading.Thread:
    """Have it write line by line, and end."""

    def work() -> None:
        for line in lines:
            job.log += line
            time.sleep(0.01)
        job.status, job.exit_code = ("FAILED" if exit_code else "SUCCEEDED"), exit_code

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def followed(jobs: Jobs, id: str = "tutelage-toy") -> tuple[str, Job, list[str]]:
    """(what was shown, the job at its end, what was noted)."""
    shown: list[str] = []
    notes: list[str] = []
    job = jobs.follow(id, shown.append, notes.append)
    return "".join(shown), job, notes


@pytest.mark.parametrize(
    "address", ["auto", "HEAD:8265", "HEAD:6379", "10.0.0.1:6379", "ray://HEAD:10001", "http://", "local"]
)
def test_an_address_that_is_no_dashboards_is_told_in_words(address: str) -> None:
    with pytest.raises(UserError, match=r"http://HEAD:8265"):
        Jobs(address)


def test_nobody_there_is_told_in_words(dashboard: Dashboard) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="is this its dashboard's port"):
            Jobs(f"http://127.0.0.1:{taken.getsockname()[1]}")


def test_what_is_no_dashboard_is_told_in_words(dashboard: Dashboard) -> None:
    with pytest.raises(Unreachable, match="says: Version check returned 404"):
        Jobs(f"{dashboard.url}/elsewhere")


@pytest.mark.parametrize("ask", [Jobs.job, Jobs.log, Jobs.stop])
def test_a_job_that_is_not_there_is_told_in_words(jobs: Jobs, ask: object) -> None:
    assert callable(ask)
    with pytest.raises(UserError, match="there is no job 'nobody'"):
        ask(jobs, "nobody")


def test_a_job_is_handed_over_without_asking_for_a_cpu(jobs: Jobs, dashboard: Dashboard) -> None:
    jobs.submit("tutelage-toy", "true", {}, {"runs": "/runs"})
    sent = dashboard.jobs["tutelage-toy"].sent
    assert (sent["entrypoint"], sent["metadata"]) == ("true", {"runs": "/runs"})
    assert not [key for key in sent if key.startswith("entrypoint_")]  # so Ray runs it on the head
    with pytest.raises(UserError, match="handed over just now"):
        jobs.submit("tutelage-toy", "true", {}, {})


def test_only_our_jobs_are_listed(jobs: Jobs, dashboard: Dashboard) -> None:
    running(dashboard)
    running(dashboard, id="raysubmit_other")
    assert [(job.id, job.status) for job in jobs.ours()] == [("tutelage-toy", "RUNNING")]


@pytest.mark.parametrize("exit_code", [0, 1, 2])
def test_following_shows_all_once_and_tells_how_it_ended(jobs: Jobs, dashboard: Dashboard, exit_code: int) -> None:
    writing = write(running(dashboard), LINES, exit_code)
    shown, job, notes = followed(jobs)
    writing.join()
    assert (shown, job.exit_code, notes) == (LOG, exit_code, [])


def test_a_dropped_connection_goes_on_where_it_was(jobs: Jobs, dashboard: Dashboard) -> None:
    dashboard.cuts = [0, 50, 100, 50, 300, 10_000]
    writing = write(running(dashboard), LINES)
    shown, job, _ = followed(jobs)
    writing.join()
    assert (shown, job.status) == (LOG, "SUCCEEDED")
    assert len(dashboard.cuts) <= 2


def test_a_cluster_that_is_away_for_a_while_is_waited_for(jobs: Jobs, dashboard: Dashboard) -> None:
    dashboard.down, dashboard.cuts = 3, [20, 30, 40]
    writing = write(running(dashboard), LINES)
    shown, _, notes = followed(jobs)
    writing.join()
    assert shown == LOG
    assert len(notes) == 1
    assert "is lost; the job goes on" in notes[0]


def test_a_cluster_that_stays_away_ends_the_following(
    jobs: Jobs, dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_of_ray, "PATIENCE_S", 0.2)
    dashboard.down, dashboard.cuts = 10_000, [0] * 10_000
    running(dashboard, LOG)
    with pytest.raises(Unreachable, match="no Ray dashboard answers"):
        followed(jobs)


def test_a_connection_that_is_dead_without_a_word_is_made_anew(
    jobs: Jobs, dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tail says nothing; the log is asked for whole."""
    monkeypatch.setattr(jobs_of_ray, "SILENCE_S", 0.1)
    monkeypatch.setattr(jobs._client, "tail_job_logs", lambda _: Silent())
    writing = write(running(dashboard), LINES)
    shown, _, _ = followed(jobs)
    writing.join()
    assert shown == LOG


class Silent:
    """A tail of which nothing comes."""

    async def __anext__(self) -> str:
        await asyncio.sleep(3600)
        raise AssertionError


def test_a_job_that_is_stopped_has_not_succeeded(jobs: Jobs, dashboard: Dashboard) -> None:
    running(dashboard)
    job = jobs.stop("tutelage-toy")
    assert (job.status, job.exit_code) == ("STOPPED", 1)


def test_why_a_job_never_began_is_told(jobs: Jobs, dashboard: Dashboard) -> None:
    job = running(dashboard)
    job.status, job.exit_code, job.message = "FAILED", None, "runtime_env setup failed"
    assert (jobs.job("tutelage-toy").exit_code, jobs.job("tutelage-toy").why) == (1, "runtime_env setup failed")
