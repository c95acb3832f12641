"""A local cluster that does not come up is tried again, and then told in words. Starts no Ray."""

import subprocess

import pytest
import ray

from cluster.session import session
from pipelines.core.errors import Unreachable

TOO_SLOW = "The current node timed out during startup. This could happen because ..."


def _init(monkeypatch: pytest.MonkeyPatch, *fails_with: str) -> list[subprocess.Popen[bytes]]:
    """Ray that fails so often, with a process of its own each time; returns these."""
    processes: list[subprocess.Popen[bytes]] = []

    def init(**_: object) -> None:
        if len(processes) < len(fails_with):
            processes.append(subprocess.Popen(["sleep", "60"]))
            raise Exception(fails_with[len(processes) - 1])

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr("cluster.session.joined", lambda profile, outlives: "up")
    return processes


def test_what_a_busy_machine_did_not_start_in_time_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = _init(monkeypatch, TOO_SLOW)
    with session() as live:
        assert live == "up"
    assert [process.wait(5) for process in processes] == [-9]


def test_a_machine_too_busy_to_start_ray_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = _init(monkeypatch, TOO_SLOW, TOO_SLOW)
    with pytest.raises(Unreachable, match="very busy"), session():
        pass
    assert [process.wait(5) for process in processes] == [-9, -9]


def test_what_else_ray_says_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = _init(monkeypatch, "no space left")
    with pytest.raises(Exception, match="no space left"), session():
        pass
    processes[0].kill()
