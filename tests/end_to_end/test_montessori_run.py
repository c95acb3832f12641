"""A round of Montessori on the real stack, and its driver killed once in each stage of it: the same artefacts.

The fake teacher and a tiny random student, through the real runner, ledger, probes' pool, Ray Train and DeepSpeed. What
is learnt means nothing.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.core.parts import rows_of
from pipelines.core.records import HeldOutLoss, Influence
from pipelines.core.storage import Folder

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]  # a driver is started eight times

KILLED_IN = ("instructions", "answers", "student", "influence", "teacher", "held_out_loss")


@pytest.fixture(scope="module")
def recipe(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    train = {"precision": "fp32", "zero_stage": 0, "max_length": 512, "learning_rate": 1.0e-3, "checkpoint_every": 2}
    data = {
        "name": "rounds",
        "method": "montessori",
        "teachers": {"main": {"kind": "fake", "model": str(tiny_llama), "latency_s": 0.1}},
        "seeds": {"held_out": 6},
        "instructions": {
            "teacher": "main", "target": 32, "prompt": "tagged-open", "samples": 4, "requests_per_round": 4,
            "seed_examples": 1, "own_examples": 0, "sampling": {"max_tokens": 100},
        },
        "answers": {"teacher": "main", "sampling": {"max_tokens": 40}},
        "rounds": {
            "warm_up": {"rows": 12, "train": {**train, "examples_per_step": 4}},
            "probe": {"reference": {"path": "seeds", "limit": 6}, "self_check": {"rows": 8}},
            "tune": train,
        },
        "student": {"init": {"kind": "model", "model": str(tiny_llama)}, "train": {**train, "examples_per_step": 4}},
        "evaluate": {"rows": 16},
    }  # fmt: skip
    file = tmp_path_factory.mktemp("recipe") / "rounds.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


def start(recipe: Path, runs: Path, log: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "pipelines.cli", "run", str(recipe), "--runs", str(runs)]
    with log.open("ab") as out:
        return subprocess.Popen(command, stdout=out, stderr=out)


def kill_in(stage: str, recipe: Path, runs: Path, log: Path) -> None:
    """SIGKILL the driver once a stage of this kind is begun and not done; it must get there."""
    driver, deadline = start(recipe, runs, log), time.monotonic() + 300
    while not is_under_way(stage, runs):
        assert driver.poll() is None, f"ended before it could be killed in {stage}:\n{log.read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"{stage} never began:\n{log.read_text()[-3000:]}"
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()


def is_under_way(stage: str, runs: Path) -> bool:
    begun = [folder for folder in runs.glob(f"{stage}-*") if (folder / "begun.json").is_file()]
    return any(not (folder / "manifest.json").is_file() for folder in begun)


@pytest.fixture(scope="module")
def both(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(runs of the undisturbed driver, runs of those that were killed, each in another stage)."""
    home = tmp_path_factory.mktemp("rounds")
    calm, killed, log = home / "calm", home / "killed", home / "log"
    assert start(recipe, calm, log).wait(timeout=600) == 0, log.read_text()[-3000:]
    for stage in KILLED_IN:
        kill_in(stage, recipe, killed, log)
    assert start(recipe, killed, log).wait(timeout=600) == 0, log.read_text()[-3000:]
    return calm, killed


def manifests(runs: Path) -> dict[str, dict[str, Any]]:
    """By folder, whose name is kind and key."""
    return {file.parent.name: json.loads(file.read_text()) for file in runs.glob("*/manifest.json")}


def test_every_stage_has_the_same_key_and_content(both: tuple[Path, Path]) -> None:
    calm, killed = (manifests(runs) for runs in both)
    assert calm.keys() == killed.keys()
    assert {name.split("-")[0] for name in calm} >= {*KILLED_IN, "preferences", "pairs", "pair_losses", "budget"}
    for name in calm:
        for fact in ("rows", "digest", "dropped"):
            assert calm[name][fact] == killed[name][fact], (name, fact)


def test_every_probed_row_has_one_score(both: tuple[Path, Path]) -> None:
    calm, killed = (sorted(scores(runs), key=lambda row: row.id) for runs in both)
    assert len({row.id for row in killed}) == len(killed)
    assert calm == killed
    assert {row.method for row in killed} == {"exact", "first_order"}


def scores(runs: Path) -> list[Influence]:
    (folder,) = runs.glob("influence-*")
    return list(rows_of(Folder(str(folder)), Influence))


def test_the_students_of_both_teachers_are_compared(both: tuple[Path, Path]) -> None:
    (folder,) = both[0].glob("held_out_loss-*")
    losses = list(rows_of(Folder(str(folder)), HeldOutLoss))
    assert {row.model for row in losses} == {"student-before", "student-0-1", "student-1-1"}
    report = json.loads(next(both[0].glob("run-*/report.json")).read_text())
    assert report["status"] == "done"


def test_the_teacher_learnt_what_it_was_to_prefer(both: tuple[Path, Path]) -> None:
    (told,) = (made for name, made in manifests(both[0]).items() if name.startswith("teacher-"))
    curve = [point["losses"]["dpo"] for point in told["facts"]["loss_curve"]]
    assert curve[0] == pytest.approx(0.6931, abs=1e-3)  # ln 2: it is its own reference
    assert curve[-1] < curve[0]
