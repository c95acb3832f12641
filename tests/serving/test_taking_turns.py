"""What is served makes way where there is no room for both, and ends with its run. Serve is a list here."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import serve

from cluster import profile
from cluster.session import Session
from pipelines.core import recipe_file
from serving import users
from serving.endpoints import Endpoints
from serving.faculty import ClusterFaculty

HERE = Session("", Path("logs"), gpus=1, threads=1)


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The applications that are up, by name."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(serve, "status", lambda: SimpleNamespace(applications=found))
    monkeypatch.setattr(serve, "run", lambda made, name, **_: found.update({name: made}))
    monkeypatch.setattr(serve, "delete", found.pop)
    monkeypatch.setattr(Endpoints, "_start_http", lambda _: None)
    monkeypatch.setattr(Endpoints, "wait", lambda *_: None)
    monkeypatch.setattr(users, "use", lambda _: None)
    monkeypatch.setattr(users, "leave", lambda _: True)
    return found


def test_one_application_at_a_time_is_up(up: dict[str, Any]) -> None:
    endpoints = Endpoints(HERE, in_turns=True)
    for name in ("first", "second", "first"):
        endpoints.up_alone([name], lambda name=name: name)
        assert list(up.values()) == [name]
        endpoints.close()
    for name in ("first", "second", "first"):
        endpoints._start([name], lambda name=name: name, at_root=False)
        assert list(up.values()) == [name]


def test_with_room_all_stay_and_one_that_is_up_is_adopted(up: dict[str, Any]) -> None:
    endpoints = Endpoints(HERE)
    urls = [endpoints._start([name], lambda name=name: name, at_root=False) for name in ("first", "second", "first")]
    assert list(up.values()) == ["first", "second"]
    assert urls[0] == urls[2]
    endpoints.make_way()
    assert len(up) == 2


def test_what_another_driver_uses_stays_and_what_a_dead_one_left_goes(
    up: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = Endpoints(HERE)
    endpoints._start(["mine"], lambda: "mine", at_root=False)
    left = Endpoints(HERE)  # finds what is there
    left._start(["mine"], lambda: "again", at_root=False)
    monkeypatch.setattr(users, "leave", lambda _: False)
    endpoints.close()
    assert list(up.values()) == ["mine"]
    monkeypatch.setattr(users, "leave", lambda _: True)
    left.close()
    assert not up


@pytest.mark.parametrize("outlives", [True, False])
@pytest.mark.parametrize("others", [True, False])
def test_serve_stays_on_a_cluster_only_with_an_application(
    up: dict[str, Any], monkeypatch: pytest.MonkeyPatch, others: bool, outlives: bool
) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(serve, "shutdown", lambda: ended.append(True))
    endpoints = Endpoints(replace(HERE, outlives=outlives))
    endpoints.close()
    assert not ended, "it is not ours to end where we began nothing"
    endpoints._start(["mine"], lambda: "mine", at_root=False)
    up.update({"theirs": "theirs"} if others else {})
    endpoints.close()
    assert bool(ended) == (outlives and not others)
    assert list(up) == (["theirs"] if others else [])


@pytest.mark.parametrize(("name", "stays"), [("one-gpu", False), ("eight-gpus", True)])
def test_training_finds_the_room_that_it_needs(up: dict[str, Any], name: str, stays: bool) -> None:
    made = profile.load(name)
    faculty = ClusterFaculty(recipe_file.load("quickstart"), profile=made)
    faculty.__dict__["session"] = Session("", Path("logs"), gpus=1, threads=1, profile=made)
    faculty.endpoints._start(["teacher"], lambda: "teacher", at_root=False)
    session = faculty.at("student")
    assert session.bundle == {"GPU": 1, "CPU": 1, "pool-here": 0.001}
    assert bool(up) == stays
    faculty.close()
    assert not up
