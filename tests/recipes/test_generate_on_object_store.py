"""A whole run that writes data, on an object store: killed in its middle and gone on, over a network that fails.

The artefacts are those of a run on a disk.
"""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import stores
from small_run import PROMPTS, MakeFaculty, Run, small_recipe

from pipelines.core import objects, runner
from pipelines.core.errors import Unreachable
from pipelines.core.progress import Progress
from pipelines.core.recipe import Generate
from pipelines.core.storage import Folder
from pipelines.runs import reporting, shelf


@pytest.fixture
def recipe(tmp_path: Path, recipe_data: dict[str, Any]) -> Generate:
    return small_recipe(tmp_path, recipe_data["teachers"])


def test_a_killed_run_goes_on_and_makes_what_a_run_on_a_disk_makes(
    recipe: Generate, make_faculty: MakeFaculty, runs: Folder, stored_runs: Folder, quiet: Progress
) -> None:
    local, stored = Run(recipe, runs), Run(recipe, stored_runs)
    local.go(make_faculty(), quiet)
    dying = make_faculty(dies_after=21)
    with pytest.raises(ConnectionError):
        stored.go(dying, quiet)
    assert [row.state for row in runner.plan(stored.stages, stored_runs)] == ["done", "done", "partial"]
    again = make_faculty()
    stored.go(again, quiet)
    assert (stored.digests(), stored.answers()) == (local.digests(), local.answers())
    assert len(dying.asked) + len(again.asked) == len(PROMPTS), "what was answered is not asked again"
    assert stored.folder.read_json("run.json")["status"] == "done"
    report = reporting.of_run(recipe, stored.folder, stored.stages)
    assert report.headline[0].value == str(len(PROMPTS))
    shelf.remove(stored.folder.name, stored_runs.uri)
    assert not [name for name in stored_runs.folders() if name != "locks"]


def test_a_network_that_fails_costs_time_and_nothing_else(
    recipe: Generate, make_faculty: MakeFaculty, runs: Folder, object_store: int, tmp_path: Path, quiet: Progress
) -> None:
    local = Run(recipe, runs)
    local.go(make_faculty(), quiet)
    troubles: list[stores.Trouble] = ["503", "lost", "cut"]
    with stores.Flaky(object_store, lambda n, _: troubles[n // 5 % 3] if n % 5 == 0 else None) as network:
        stored, faculty = Run(recipe, Folder(stores.uri(network.port, tmp_path.name))), make_faculty()
        stored.go(faculty, quiet)
        assert (stored.digests(), stored.answers()) == (local.digests(), local.answers())
        assert len(faculty.asked) == len(PROMPTS)


def test_a_store_that_fails_and_stalls_at_random_costs_time_and_nothing_else(
    recipe: Generate, make_faculty: MakeFaculty, runs: Folder, object_store: int, tmp_path: Path, quiet: Progress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Also where a driver dies in the middle of it."""
    local = Run(recipe, runs)
    local.go(make_faculty(), quiet)
    monkeypatch.setattr(objects, "SILENCE_S", 0.3)
    chance, met = random.Random(8), Counter[str]()

    def trouble(_: int, __: str) -> stores.Trouble | None:
        drawn: stores.Trouble | None = (
            chance.choice(("503", "lost", "cut", "stall")) if chance.random() < 0.15 else None
        )
        met[str(drawn)] += 1
        return drawn

    with stores.Flaky(object_store, trouble) as network:
        stored = Run(recipe, Folder(stores.uri(network.port, tmp_path.name)))
        dying, again = make_faculty(dies_after=21), make_faculty()
        with pytest.raises(ConnectionError):
            stored.go(dying, quiet)
        stored.go(again, quiet)
        assert (stored.digests(), stored.answers()) == (local.digests(), local.answers())
    assert len(dying.asked) + len(again.asked) == len(PROMPTS), "what was answered is not asked again"
    assert min(met[each] for each in ("503", "lost", "cut", "stall")) >= 2, met


def test_a_network_that_goes_ends_the_run_in_words_and_the_next_goes_on(
    recipe: Generate, make_faculty: MakeFaculty, runs: Folder, object_store: int, tmp_path: Path, quiet: Progress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    local = Run(recipe, runs)
    local.go(make_faculty(), quiet)
    monkeypatch.setattr(objects, "PATIENCE_S", 0.3)
    monkeypatch.setattr(objects, "TRIES", 0)
    is_gone = False

    def trouble(_: int, request: str) -> stores.Trouble | None:
        nonlocal is_gone
        is_gone = is_gone or ("/replies-" in request and request.startswith("PUT") and sum(told) >= 2)
        told.append("/replies-" in request and request.startswith("PUT"))
        return "503" if is_gone else None

    told: list[bool] = []
    with stores.Flaky(object_store, trouble) as network:
        first, faculty = Run(recipe, Folder(stores.uri(network.port, tmp_path.name))), make_faculty()
        with pytest.raises(Unreachable, match="the store does not answer"):
            first.go(faculty, quiet)
    again = Run(recipe, Folder(stores.uri(object_store, tmp_path.name)))
    other = make_faculty()
    again.go(other, quiet)
    assert (again.digests(), again.answers()) == (local.digests(), local.answers())
    assert len(other.asked) < len(PROMPTS), "what was committed is not asked again"
