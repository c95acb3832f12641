"""Drivers whose clocks are hours apart go on with one run: what is there counts, and not when it was made."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from clocks import clock
from small_run import PROMPTS, MakeFaculty, Run, small_recipe

from pipelines.core import runner
from pipelines.core.progress import Progress
from pipelines.core.storage import Folder

DAY_S = 86_400


def test_a_run_goes_on_whatever_the_time_was_and_is(
    tmp_path: Path, recipe_data: dict[str, Any], make_faculty: MakeFaculty, runs: Folder, quiet: Progress
) -> None:
    recipe = small_recipe(tmp_path, recipe_data["teachers"])
    usual, shared = Run(recipe, runs), Run(recipe, Folder(str(tmp_path / "shared")))
    usual.go(make_faculty(), quiet)
    dying, second, third = make_faculty(dies_after=21), make_faculty(), make_faculty()
    with clock(hours=7), pytest.raises(ConnectionError):
        shared.go(dying, quiet)
    for file in (tmp_path / "shared").rglob("*.*"):
        os.utime(file, (time.time() + DAY_S, time.time() + DAY_S))
    with clock(hours=-7):
        shared.go(second, quiet)
        status = shared.folder.read_json(runner.STATUS_FILE)
    shared.go(third, quiet)
    assert (shared.digests(), shared.answers()) == (usual.digests(), usual.answers())
    assert len(dying.asked) + len(second.asked) == len(PROMPTS), "what was answered is not asked again"
    assert not third.asked
    assert status["started"] < time.time() - DAY_S / 4, "it was driven by a clock that was wrong"
    assert 0 <= status["seconds"] < 60
