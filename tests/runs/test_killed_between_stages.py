"""Drivers killed with SIGKILL right before and right after each stage's manifest is written: the same artefacts.

The teacher is a record, so no engine starts. Each driver is a process of its own, all on one runs folder.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.runs import api

TASKS = [f"Name {n} rivers." for n in range(40)]
STAGES = ("seeds", "instructions", "answers")
DRIVER = """
import os, signal, sys
from pipelines.core import manifest
from pipelines.runs import api

recipe, runs, when, stage = sys.argv[1:]
write = manifest.write

def write_or_die(made, *rest):
    if (when, stage) == ("before", made.name):
        os.kill(os.getpid(), signal.SIGKILL)
    done = write(made, *rest)
    if (when, stage) == ("after", made.name):
        os.kill(os.getpid(), signal.SIGKILL)
    return done

manifest.write = write_or_die
api.run(api.load(recipe), runs)
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Given tasks, each of which the record answers."""
    tasks, record = tmp_path / "tasks.jsonl", tmp_path / "record.jsonl"
    tasks.write_text("".join(json.dumps({"instruction": task, "instances": []}) + "\n" for task in TASKS))
    record.write_text("".join(json.dumps({"prompt": task, "text": f"{task[5:]}: none."}) + "\n" for task in TASKS))
    data = {
        "name": "killed", "method": "generate", "seeds": {"tasks": str(tasks)},
        "teachers": {"main": {"kind": "recorded", "files": [str(record)]}},
        "instructions": {"kind": "given"}, "answers": {"teacher": "main"},
    }  # fmt: skip
    (tmp_path / "killed.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "killed.yaml"


def test_a_driver_killed_at_every_boundary_changes_nothing(recipe: Path, tmp_path: Path) -> None:
    for stage in STAGES:
        for when in ("before", "after"):
            driver = [sys.executable, "-c", DRIVER, str(recipe), str(tmp_path / "killed"), when, stage]
            assert subprocess.run(driver, capture_output=True, check=False).returncode == -signal.SIGKILL
            sealed = {name for name in STAGES if list((tmp_path / "killed").glob(f"{name}-*/manifest.json"))}
            assert sealed == set(STAGES[: STAGES.index(stage) + (when == "after")])
    last = api.run(api.load(recipe), str(tmp_path / "killed"))
    assert all(stage.cached for stage in last.stages)
    assert artefacts(last) == artefacts(api.run(api.load(recipe), str(tmp_path / "calm")))


def artefacts(ran: api.Ran) -> dict[str, list[Any]]:
    """By folder, what must be the same."""
    return {
        stage.done.folder.name: [stage.done.manifest[fact] for fact in ("rows", "digest", "dropped")]
        for stage in ran.stages
    }
