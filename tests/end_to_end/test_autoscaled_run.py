"""A generation run on a cluster that Ray's own autoscaler grows and shrinks: nodes for teachers come and go, no other.

Ray's `fake_multinode` provider drives the real autoscaler and starts real raylets, on this machine. The first stage's
teacher lies in a pool of actors, on nodes that are not there yet; the second's runs in the driver, for so long that the
nodes are given back. Both are fake.
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
from typing import Any

import psutil
import pytest
import ray.util
import yaml

from pipelines.core.parts import SHARD_ROWS
from pipelines.generate.pool import SHARDS_AT_ONCE
from serving.endpoints import held_port

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

MOST, IDLE_MINUTES = 2, 0.1
ACTORS = 11  # of a tenth of a CPU each, so that one node has no room for all
TASKS = ACTORS * SHARDS_AT_ONCE * SHARD_ROWS  # work for all of them
HEAD = "ray.head.default"  # as the provider calls it
PROFILE = {
    "head": {"cpus": 1},
    "pools": {name: {"min": 0, "max": MOST, "cpus": 1} for name in ("teachers", "students")},
    "roles": {
        "teacher": "teachers",
        "judge": "teachers",
        "student": "students",
        "probe": "students",
        "cpu": "students",
    },
}
NODES = {
    name: {"resources": {"CPU": 1, f"pool-{name}": 1}, "node_config": {}, "min_workers": 0, "max_workers": MOST}
    for name in PROFILE["pools"]
}
CLUSTER: dict[str, Any] = {
    "cluster_name": "autoscaled",
    "provider": {
        "type": "fake_multinode", "use_node_id_as_ip": True, "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "auth": {"ssh_user": "nobody"},
    "available_node_types": NODES | {HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}},
    "head_node_type": HEAD,
    "max_workers": 2 * MOST,
    "idle_timeout_minutes": IDLE_MINUTES,
    "upscaling_speed": 1,
    **{kind: [] for kind in (
        "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
        "head_start_ray_commands", "worker_start_ray_commands", "rsync_exclude", "rsync_filter",
        "cluster_synced_files",
    )},
    "docker": {}, "file_mounts": {}, "file_mounts_sync_continuously": False, "head_node": {}, "worker_nodes": {},
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """An autoscaling cluster, and a folder in which commands are given."""

    address: str
    home: Path
    environment: dict[str, str]

    def tutelage(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *words], cwd=self.home, env=self.environment, capture_output=True,
            text=True, timeout=500, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home, apart = tmp_path_factory.mktemp("autoscaled"), tempfile.TemporaryDirectory()
    environment = os.environ | {
        "RAY_TMPDIR": apart.name,  # a short path, for sockets
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with held_port(None) as port, held_port(None) as for_clients:
        pass
    address = f"{ray.util.get_node_ip_address()}:{port}"
    cluster_file = CLUSTER | {"provider": {**CLUSTER["provider"], "gcs_address": address}}
    (home / "cluster.yaml").write_text(yaml.safe_dump(cluster_file))
    (home / "profile.yaml").write_text(yaml.safe_dump(PROFILE))
    command = [
        "ray", "start", "--head", "--block", f"--port={port}", "--num-cpus=0", "--include-dashboard=false",
        f"--ray-client-server-port={for_clients}", f"--autoscaling-config={home / 'cluster.yaml'}",
        "--disable-usage-stats",
    ]  # fmt: skip
    with (home / "cluster.log").open("w") as log:
        cluster = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_for_head(home / "cluster.log")
        yield Place(address, home, environment)
    finally:
        cluster.terminate()
        cluster.wait(timeout=60)
        end_all(apart.name)
        apart.cleanup()


def wait_for_head(log: Path) -> None:
    deadline = time.monotonic() + 120
    while "Ray runtime started" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.5)


def end_all(folder: str) -> None:
    """What the autoscaler started, too."""
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("RAY_TMPDIR") == folder:
                left.append(process)
        except psutil.Error:
            continue
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=30)


@pytest.fixture(scope="module")
def run(place: Place, tiny_llama: Path) -> Path:
    """The run's folder."""
    tasks = [{"instruction": f"List {n} rivers.", "instances": []} for n in range(TASKS)]
    (place.home / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    fake: dict[str, Any] = {"kind": "fake", "model": str(tiny_llama)}
    data = {
        "name": "toy", "method": "generate", "seeds": {"tasks": "tasks.jsonl"},
        "teachers": {
            "pooled": {**fake, "pool": {"max": ACTORS}, "bulk_from": 0, "latency_s": 12},
            "here": {**fake, "latency_s": 2},
        },
        "instructions": {"kind": "evolved", "teacher": "pooled", "generations": 1, "sampling": {"max_tokens": 40}},
        "answers": {"teacher": "here", "sampling": {"max_tokens": 40}},
    }  # fmt: skip
    (place.home / "toy.yaml").write_text(yaml.safe_dump(data))
    ended = place.tutelage("run", "toy.yaml", "--runs", "runs", "--address", place.address, "--profile", "profile.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr.count("waiting for the first node of pool 'teachers'") == 1, ended.stderr
    (folder,) = (place.home / "runs").glob("run-toy-*")
    return folder


def test_teachers_nodes_come_and_go_and_no_students_do(run: Path) -> None:
    counts = json.loads((run / "nodes.json").read_text())
    teachers = [count["nodes"]["teachers"] for count in counts]
    print("\n".join(f"{c['at'] - counts[0]['at']:6.1f} s {c['during']:<12} {c['nodes']}" for c in counts))
    assert (teachers[0], max(teachers), teachers[-1]) == (0, MOST, 0)
    assert {count["nodes"]["students"] for count in counts} == {0}
    came = {
        count["during"]
        for count, before in zip(counts[1:], teachers, strict=False)
        if count["nodes"]["teachers"] > before
    }
    assert came == {"evolved_1"}


def test_the_report_shows_it(run: Path) -> None:
    told = json.loads((run / "report.json").read_text())["nodes"]
    assert max(each["nodes"]["teachers"] for each in told) == MOST
    assert "Nodes of the cluster over time" in (run / "report.html").read_text()
    assert "| After | Stage | Nodes of students | Nodes of teachers |" in (run / "report.md").read_text()
