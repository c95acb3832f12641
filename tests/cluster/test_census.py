"""Nodes are counted by pool while a run is on its cluster. Ray's list of them is the test's; no Ray starts."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from cluster import census
from cluster.profile import Profile
from pipelines.core.storage import Folder

PROFILE = Profile.model_validate(
    {
        "pools": {"teachers": {"min": 0, "max": 2, "cpus": 1}, "rest": {"min": 1, "max": 1, "cpus": 1}},
        "roles": {"teacher": "teachers", **dict.fromkeys(("student", "probe", "judge", "cpu"), "rest")},
    }
)


def node(pool: str, *, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": 1.0, f"pool-{pool}": 1.0}}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    there = [node("rest"), {"Alive": True, "Resources": {"memory": 1.0}}]  # the second is the head
    monkeypatch.setattr(ray, "nodes", lambda: there)
    monkeypatch.setattr(census, "_marks_waited_for", lambda: frozenset({"pool-teachers", "pool-rest", "CPU"}))
    monkeypatch.setattr(census, "EVERY_S", 0.01)
    return there


def kept(folder: Folder) -> list[tuple[str, int, int]]:
    counts = folder.read_json(census.FILE) if folder.exists(census.FILE) else []
    return [(count["during"], count["nodes"]["teachers"], count["nodes"]["rest"]) for count in counts]


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_every_change_is_kept_as_it_comes_and_the_end(nodes: list[dict[str, Any]], tmp_path: Path) -> None:
    folder, stage = Folder(str(tmp_path)), ["answers"]
    with census.counted(PROFILE, folder, lambda: stage[0], print):
        nodes.append(node("teachers"))
        until(lambda: kept(folder)[-1:] == [("answers", 1, 1)])
        nodes[-1] = node("teachers", alive=False)
        until(lambda: kept(folder)[-1] == ("answers", 0, 1))
        stage[0] = "student"
        until(lambda: kept(folder)[-1] == ("student", 0, 1))
    assert kept(folder) == [("answers", 0, 1), ("answers", 1, 1), ("answers", 0, 1), *[("student", 0, 1)] * 2]
    times = [count["at"] for count in folder.read_json(census.FILE)]
    assert times == sorted(times)


def test_a_picture_that_cannot_be_kept_ends_no_run(nodes: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    with census.counted(PROFILE, Folder(str(tmp_path / "run")), lambda: "", print):
        nodes.clear()


def test_who_waits_for_a_pools_first_node_is_told_once_and_when_it_is_there(
    nodes: list[dict[str, Any]], tmp_path: Path
) -> None:
    told: list[str] = []
    with census.counted(PROFILE, Folder(str(tmp_path)), lambda: "answers", told.append):
        until(lambda: len(told) == 1)
        nodes.append(node("teachers"))
        until(lambda: len(told) == 2)
        nodes.append(node("teachers"))
    assert told == ["  waiting for the first node of pool 'teachers'", "  there is a node of pool 'teachers'"]
