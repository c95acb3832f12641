"""The whole path on the real stack: the embedded teacher, small numbers, the command line as a user calls it.

Run once for the module; the tests look at what it left behind.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipelines.core import lock
from pipelines.core.builtin import SEED_TASKS

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

SMALL = [
    "seeds.tasks=tasks.jsonl",
    "seeds.held_out=6",
    "instructions.target=6",
    "instructions.requests_per_round=4",
    "answers.sampling.max_tokens=24",
    "evaluate.sampling.max_tokens=24",
    "student.init.layers=29",
    "student.init.calibration_rows=2",
    "student.init.calibration_tokens=8",
    "student.train.examples_per_step=12",
    "student.train.learning_rate=1e-4",
]


def tutelage(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=1500, check=False)


def run_quickstart(cwd: Path, *more: str) -> subprocess.CompletedProcess[str]:
    sets = [part for setting in [*SMALL, *more] for part in ("--set", setting)]
    return tutelage("run", "quickstart", *sets, cwd=cwd)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    tasks = SEED_TASKS.read_text().splitlines(keepends=True)[:80]
    (folder / "tasks.jsonl").write_text("".join(tasks))
    finished = run_quickstart(folder)
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert "report:" in finished.stdout
    return folder


@pytest.fixture(scope="module")
def run_folder(home: Path) -> Path:
    (folder,) = (home / "runs").glob("run-*")
    return folder


def test_the_report_shows_what_was_measured(run_folder: Path) -> None:
    report = json.loads((run_folder / "report.json").read_text())
    assert report["status"] == "done"
    before, after, teacher = report["scores"]
    assert (before["model"], after["model"], teacher["model"]) == ("student before", "student", "teacher")
    assert teacher["nll"]["mean"] < after["nll"]["mean"] < before["nll"]["mean"]
    assert teacher["rows"] == 6
    assert teacher["parameters"] > after["parameters"] > 100e6
    assert report["loss_curve"]
    assert {"answer", "kd"} <= report["loss_curve"][0]["components"].keys()
    assert any("captured candidates" in note for note in report["notes"])
    assert any("answer" in note and "kd" in note for note in report["notes"])
    assert "<svg" in (run_folder / "report.html").read_text()


def test_what_is_measured_without_an_endpoint_is_what_the_endpoint_says(run_folder: Path) -> None:
    """The untrained student's likelihoods are measured in a worker, and compared with those of served models."""
    from pipelines.core.chat import ChatTokenizer
    from pipelines.core.parts import rows_of
    from pipelines.core.records import Answer, EvalAnswer
    from pipelines.core.storage import Folder
    from pipelines.train.examples import encode
    from pipelines.train.measure import losses

    status = json.loads((run_folder / "run.json").read_text())
    stages = {name.rsplit("-", 1)[0]: run_folder.parent / name for name in status["stages"]}
    student = stages["student"] / "model"
    references = list(rows_of(Folder(str(stages["references"])), Answer))
    examples = [encode(reference, ChatTokenizer(str(student))) for reference in references]
    measured = list(losses(student, examples, lambda _: None))
    told = {a.instruction_id: a for a in rows_of(Folder(str(stages["evaluate"])), EvalAnswer) if a.model == "student"}
    tokens = sum(count for _, count in measured)
    assert tokens == sum(a.reference_tokens for a in told.values())
    assert abs(sum(nll for nll, _ in measured) - sum(a.nll for a in told.values())) / tokens < 0.02


def test_a_second_run_starts_no_engine(home: Path, run_folder: Path) -> None:
    began = time.monotonic()
    finished = run_quickstart(home)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert time.monotonic() - began < 15
    assert "Ray is up" not in finished.stderr


def test_one_setting_reruns_only_what_it_changes(home: Path, run_folder: Path) -> None:
    sets = [part for setting in [*SMALL, "student.train.learning_rate=1e-5"] for part in ("--set", setting)]
    planned = tutelage("plan", "quickstart", *sets, cwd=home)
    done = {line.split()[1] for line in planned.stdout.splitlines() if line.startswith("  done ")}
    assert {"seeds", "instructions", "answers", "examples", "soft_targets", "student_init"} <= done
    assert not {"student", "evaluate"} & done


def test_a_row_leads_back_to_its_seed(home: Path, run_folder: Path) -> None:
    report = json.loads((run_folder / "report.json").read_text())
    row = next(r for r in report["examples"] if r["parents"])
    traced = tutelage("trace", row["instruction_id"], cwd=home)
    assert traced.returncode == 0, traced.stderr
    assert "completion" in traced.stdout
    assert "seed" in traced.stdout


@pytest.fixture(scope="module")
def endpoint(home: Path, run_folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "pipelines.cli", "serve", run_folder.name]
    log = home / "serve.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            command, cwd=home, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
    try:
        deadline = time.monotonic() + 600
        while not (found := re.search(r"endpoint: (http\S+)", log.read_text())):
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, "serving did not come up"
            time.sleep(1)
        yield found[1]
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=120) == 0


def test_an_openai_client_reaches_the_models(endpoint: str) -> None:
    from openai import OpenAI

    client = OpenAI(base_url=endpoint, api_key="none")
    assert urlsplit(endpoint).path == "/v1", "a person types the port alone"
    assert {m.id for m in client.models.list()} == {"teacher", "student-before", "student"}
    for model in ("teacher", "student"):
        answer = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            max_tokens=16,
            temperature=0,
        )
        assert answer.choices[0].message.content
    said = client.chat.completions.create(
        model="teacher",
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        max_tokens=16,
        temperature=0,
    )
    assert "Paris" in (said.choices[0].message.content or "")


def test_served_likelihood_equals_local(endpoint: str, run_folder: Path) -> None:
    """The endpoint's log-probabilities against plain transformers, same weights: both compute in bfloat16."""
    import asyncio

    import torch
    from transformers import AutoModelForCausalLM

    from pipelines.core.chat import ChatTokenizer
    from serving.api import Address, Api
    from serving.client import ServedModel

    status = json.loads((run_folder / "run.json").read_text())
    student = next(run_folder.parent / s / "model" for s in status["stages"] if s.startswith("student-"))
    ids = ChatTokenizer(str(student)).prompt_ids("Name three fruits that grow on trees, and one that does not.")

    async def served() -> list[float]:
        async with Api(Address(endpoint, "student")) as api:
            return await ServedModel(api, "student", ChatTokenizer(str(student))).logprobs(ids)

    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32)
    with torch.inference_mode():
        local_TV = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    local = [float(local_TV[t - 1, ids[t]]) for t in range(1, len(ids))]
    remote = asyncio.run(served())[1:]
    mean_gap = abs(sum(local) - sum(remote)) / len(local)
    assert mean_gap < 0.05, f"{mean_gap:.3f} nats per token apart"


def test_rm_frees_everything(home: Path, run_folder: Path, endpoint: str) -> None:
    finished = tutelage("rm", run_folder.name, cwd=home)
    assert finished.returncode == 0, finished.stderr
    assert {left.name for left in (home / "runs").glob("*")} <= {lock.LOCKS}  # fencing numbers stay
