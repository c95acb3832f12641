"""A round of Montessori on the real stack, and its driver killed once in each kind of stage: the same artefacts.

Each kill comes when something of the stage is kept already, so that the next driver has to go on from it. The fake
teacher and a tiny random student, through the real runner, ledger, probes' pool, Ray Train and DeepSpeed. What is
learnt means nothing. The drivers meet on one cluster, which outlives them.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.session import session
from pipelines.core.parts import rows_of
from pipelines.core.records import Completion, HeldOutLoss, Influence
from pipelines.core.storage import Folder

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]  # a driver is started eight times

KILLED_IN = ("instructions", "answers", "student", "influence", "teacher", "held_out_loss")
LEDGERS = {"instructions": "replies", "influence": "influences"}
STEPS_KEPT = 5  # checkpoints come every two


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
        "student": {
            "init": {"kind": "model", "model": str(tiny_llama)},
            "train": {**train, "examples_per_step": 4, "epochs": 5},
        },
        "evaluate": {"rows": 16},
    }  # fmt: skip
    file = tmp_path_factory.mktemp("recipe") / "rounds.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


@dataclass(frozen=True)
class Drivers:
    """The command line, on a cluster that is there."""

    recipe: Path
    address: str
    log: Path

    def start(self, runs: Path) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "pipelines.cli", "run", str(self.recipe), "--runs", str(runs)]
        with self.log.open("ab") as out:
            return subprocess.Popen([*command, "--address", self.address], stdout=out, stderr=out)

    def finish(self, runs: Path) -> None:
        assert self.start(runs).wait(timeout=600) == 0, self.log.read_text()[-3000:]


def kill_in(stage: str, drivers: Drivers, runs: Path) -> None:
    """SIGKILL the driver once a stage of this kind is under way; it must get there."""
    driver, deadline, log = drivers.start(runs), time.monotonic() + 300, drivers.log
    while not is_under_way(stage, runs):
        assert driver.poll() is None, f"ended before it could be killed in {stage}:\n{log.read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"{stage} never began:\n{log.read_text()[-3000:]}"
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()


def is_under_way(stage: str, runs: Path) -> bool:
    """Begun, not done, and something of it kept where it keeps something."""
    begun = [folder for folder in runs.glob(f"{stage}-*") if (folder / "begun.json").is_file()]
    undone = [folder for folder in begun if not (folder / "manifest.json").is_file()]
    if stage in LEDGERS:
        return bool(undone and list(runs.glob(f"{LEDGERS[stage]}-*/*.parquet")))
    if stage == "student":
        curves = [folder / "curve.jsonl" for folder in undone]
        return any(curve.is_file() and len(curve.read_text().splitlines()) >= STEPS_KEPT for curve in curves)
    return bool(undone)


@pytest.fixture(scope="module")
def both(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(runs of the undisturbed driver, runs of those that were killed, each in another stage)."""
    home = tmp_path_factory.mktemp("rounds")
    calm, killed = home / "calm", home / "killed"
    with session() as live:
        drivers = Drivers(recipe, live.address, home / "log")
        drivers.finish(calm)
        for stage in KILLED_IN:
            kill_in(stage, drivers, killed)
        drivers.finish(killed)
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


def test_training_went_on_from_its_checkpoint(both: tuple[Path, Path]) -> None:
    """Each step stands once in the curve, and the curves are the same."""
    calm, killed = (manifests(runs) for runs in both)
    trained = [name for name in calm if "loss_curve" in calm[name]["facts"]]
    assert {name.split("-")[0] for name in trained} >= {"student", "teacher"}
    for name in trained:
        curves = [made[name]["facts"]["loss_curve"] for made in (calm, killed)]
        assert [point["step"] for point in curves[1]] == list(range(1, len(curves[1]) + 1))
        assert curves[0] == curves[1]


@pytest.mark.parametrize(("ledger", "record"), [("replies", Completion), ("influences", Influence)])
def test_nothing_was_asked_twice(ledger: str, record: Any, both: tuple[Path, Path]) -> None:
    """What was in the ledger when the driver died was not asked again."""
    calm, killed = (sorted(ids_in(runs, ledger, record)) for runs in both)
    assert len(killed) == len(set(killed))
    assert calm == killed


def ids_in(runs: Path, ledger: str, record: Any) -> list[str]:
    folders = [Folder(str(folder)) for folder in runs.glob(f"{ledger}-*")]
    parts = [(folder, part) for folder in folders for part in folder.files(".parquet")]
    return [row.id for folder, part in parts for row in folder.read_records(part, record)]


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
