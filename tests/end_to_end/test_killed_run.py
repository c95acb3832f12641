"""A driver killed with SIGKILL in mid-generation and in mid-training: the next run ends as the undisturbed one.

The fake teacher and a tiny random student, through the real runner, ledger, Ray Train and DeepSpeed. Evaluation is
left out: it starts two engines and is not what is asked here.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines.core.records import Completion
from pipelines.core.storage import Folder

pytestmark = pytest.mark.engine

SCRIPT = """
import sys
from pipelines.core import runner
from pipelines.core.progress import Progress
from pipelines.core.storage import Folder
from pipelines.recipes import distil
from pipelines.runs.api import load
from serving.faculty import ClusterFaculty

recipe, runs = load(sys.argv[1]), Folder(sys.argv[2])
faculty = ClusterFaculty(recipe)
stages = [s for s in distil.stages(recipe, faculty) if s.name != "evaluate"]
try:
    runner.run(stages, runs, runs.child("run-test"), Progress(every_s=0))
finally:
    faculty.close()
"""


@pytest.fixture(scope="module")
def recipe(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    teacher = {"kind": "fake", "model": str(tiny_llama), "latency_s": 0.2}
    data = {
        "name": "killed",
        "method": "distil",
        "teachers": {"main": teacher},
        "seeds": {"held_out": 6},
        "instructions": {"teacher": "main", "target": 40, "requests_per_round": 4, "sampling": {"max_tokens": 400}},
        "answers": {"teacher": "main", "sampling": {"max_tokens": 40}},
        "student": {
            "init": {"kind": "pruned", "teacher": "main", "layers": 3, "calibration_rows": 2},
            "signals": "main",
            "train": {
                "losses": {"answer": 1.0, "kd": 1.0}, "top_k": 4, "precision": "fp32", "zero_stage": 0,
                "examples_per_step": 4, "checkpoint_every": 3, "max_length": 512, "tokens_per_pack": 2048,
            },
        },
        "evaluate": {"teacher": "main"},
    }  # fmt: skip
    file = tmp_path_factory.mktemp("recipe") / "killed.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


def start(recipe: Path, runs: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen([sys.executable, "-c", SCRIPT, str(recipe), str(runs)], stdout=out, stderr=out)


def kill_when(process: subprocess.Popen[bytes], seen: Callable[[], bool], log: Path) -> None:
    """SIGKILL the driver as soon as `seen`; it must not have finished before."""
    deadline = time.monotonic() + 300
    while not seen():
        assert process.poll() is None, f"ended before it could be killed:\n{log.read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"nothing to kill:\n{log.read_text()[-3000:]}"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def finish(recipe: Path, runs: Path, log: Path) -> None:
    assert start(recipe, runs, log).wait(timeout=600) == 0, log.read_text()[-3000:]


def lines(runs: Path) -> int:
    return sum(len(f.read_text().splitlines()) for f in runs.glob("student-*/curve.jsonl"))


@pytest.fixture(scope="module")
def both(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(runs of the undisturbed driver, runs of the one that was killed three times)."""
    home = tmp_path_factory.mktemp("killed")
    calm, killed, log = home / "calm", home / "killed", home / "log"
    finish(recipe, calm, log)
    kill_when(start(recipe, killed, log), lambda: len(list(killed.glob("replies-*/*"))) >= 3, log)
    kill_when(start(recipe, killed, log), lambda: bool(list(killed.glob("answers-*/rows/*"))), log)
    kill_when(start(recipe, killed, log), lambda: lines(killed) >= 8, log)
    finish(recipe, killed, log)
    return calm, killed


def manifests(runs: Path) -> dict[str, dict[str, object]]:
    found = [json.loads(f.read_text()) for f in runs.glob("*/manifest.json")]
    return {m["stage"]: m for m in found}


def test_every_stage_has_the_same_key_and_content(both: tuple[Path, Path]) -> None:
    calm, killed = (manifests(runs) for runs in both)
    assert calm.keys() == killed.keys() >= {"instructions", "answers", "references", "soft_targets", "student"}
    for name in calm:
        assert (calm[name]["key"], calm[name]["rows"]) == (killed[name]["key"], killed[name]["rows"]), name
        assert calm[name]["digest"] == killed[name]["digest"], name
        assert calm[name]["dropped"] == killed[name]["dropped"], name


def test_training_went_on_from_its_checkpoint(both: tuple[Path, Path]) -> None:
    """Each step stands once in the curve, and the two curves are the same."""
    curves = [manifests(runs)["student"]["facts"]["loss_curve"] for runs in both]  # type: ignore[index]
    assert [p["step"] for p in curves[1]] == list(range(1, len(curves[1]) + 1))
    assert curves[0] == curves[1]


def test_nothing_was_bought_twice(both: tuple[Path, Path]) -> None:
    """What was in the ledger when the driver died was not asked again."""
    counts = []
    for runs in both:
        (ledger,) = runs.glob("replies-*")
        folder = Folder(str(ledger))
        ids = [c.id for part in folder.files(".parquet") for c in folder.read_records(part, Completion)]
        assert len(ids) == len(set(ids))
        counts.append(sorted(ids))
    assert counts[0] == counts[1]
