"""A run as a job of a real cluster with a token: three nodes on this machine, of which the head has no CPU to give.

The commands as a user has them, each in a process of its own. The teacher is fake; its pool lies on the other nodes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

TASKS = 48
CLUSTER = """
import sys
from ray.cluster_utils import Cluster

free = {"dashboard_port": None, "dashboard_agent_listen_port": None}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": True, **free})
for _ in range(2):
    cluster.add_node(num_cpus=2)
print("dashboard:", cluster.head_node.webui_url, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@dataclass(frozen=True)
class Place:
    """A running cluster, its runs folder, and the folder in which commands are given."""

    url: str
    home: Path
    environment: dict[str, str]

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    def tutelage(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "pipelines.cli", *words, "--address", self.url]
        environment = {**self.environment, **more}
        return subprocess.run(
            command, cwd=self.home, env=environment, capture_output=True, text=True, timeout=400, check=False
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home, apart = tmp_path_factory.mktemp("cluster"), tempfile.TemporaryDirectory()
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef",
        # Jobs find their cluster by a file, which is the last one's of all on a machine. A short path, for sockets.
        "RAY_TMPDIR": apart.name,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # the nodes' `python`
    }
    with (home / "cluster.log").open("w") as log:
        cluster = subprocess.Popen(
            [sys.executable, "-c", CLUSTER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            text=True,
        )  # fmt: skip
    assert cluster.stdout is not None
    told = next((line for line in cluster.stdout if line.startswith("dashboard: ")), None)
    assert told, (home / "cluster.log").read_text()[-3000:]
    yield Place(f"http://{told.split()[1]}", home, environment)
    cluster.communicate("", timeout=120)
    apart.cleanup()


@pytest.fixture(scope="module")
def recipe(model: Path, place: Place) -> str:
    """Given tasks that lie beside the recipe, and so go along with it; the pool answers them all."""
    tasks = [{"instruction": f"List {n} rivers.", "instances": []} for n in range(TASKS)]
    (place.home / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    teacher = {"kind": "fake", "model": str(model), "pool": {"min": 2, "max": 2}, "bulk_from": 0}
    data = {
        "name": "toy", "method": "generate", "seeds": {"tasks": "tasks.jsonl"},
        "teachers": {"main": teacher},
        "instructions": {"kind": "given"},
        "answers": {"teacher": "main", "sampling": {"max_tokens": 70}},
    }  # fmt: skip
    (place.home / "toy.yaml").write_text(yaml.safe_dump(data))
    return "toy.yaml"


def test_a_run_is_followed_to_its_report(place: Place, recipe: str) -> None:
    ended = place.tutelage("submit", recipe, "--runs", str(place.runs), "--follow")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{TASKS:>6}/{TASKS} rows" in ended.stdout
    (page,) = place.home.glob("tutelage-toy-*.html")
    (made,) = place.runs.glob("run-toy-*/report.html")
    assert page.read_bytes() == made.read_bytes()
    (listed,) = place.tutelage("jobs").stdout.splitlines()  # and not the job that read the report
    assert listed.split()[:2] == [page.stem, "SUCCEEDED"]
    assert "Running entrypoint" in place.tutelage("logs", page.stem).stdout


def test_a_run_is_stopped_midway_and_says_so(place: Place, recipe: str) -> None:
    runs = place.home / "slow"  # what the other run's teacher said would be there already
    slow = ("submit", recipe, "--runs", str(runs), "--set", "name=slow", "--set", "teachers.main.latency_s=600")
    handed = place.tutelage(*slow)
    assert handed.returncode == 0, handed.stderr
    id = handed.stdout.splitlines()[0].split()[-1]
    again = place.tutelage(*slow)
    assert (again.returncode, f"under way already, as {id}" in again.stderr) == (2, True), again.stderr
    wait_for_answers(place, id)
    assert place.tutelage("stop", id).stdout == f"{id} is STOPPED\n"
    (file,) = runs.glob("run-slow-*/run.json")
    status = json.loads(file.read_text())
    assert (status["status"], status["at"]) == ("stopped", "answers")


def wait_for_answers(place: Place, id: str) -> None:
    """Until the job's driver is at the stage whose answers do not come."""
    deadline = time.monotonic() + 200
    while "answers" not in (log := place.tutelage("logs", id).stdout):
        assert time.monotonic() < deadline, log


def test_without_the_token_nothing_is_told(place: Place) -> None:
    for token, words in (("disabled", "wants a token"), ("token", "takes another token")):
        refused = place.tutelage("jobs", RAY_AUTH_MODE=token, RAY_AUTH_TOKEN="fedcba9876543210fedcba9876543210")
        assert (refused.returncode, words in refused.stderr) == (2, True), refused.stderr
