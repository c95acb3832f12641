"""A node that says it will be taken away: training leaves a checkpoint at once, and goes on while it may.

The node is drained as a cluster's autoscaler would drain it, through Ray itself; so this file has a session of its own.
"""

import io
import json
import threading
import time
from pathlib import Path

import pytest

from cluster.session import session
from pipelines.core.config import Train
from pipelines.core.parts import summary, write_rows
from pipelines.core.progress import Progress
from pipelines.core.records import TrainExample
from pipelines.core.stage import Done, StageRun
from pipelines.core.storage import Folder
from pipelines.train import student

pytestmark = pytest.mark.engine

STEPS = 80


def test_a_preemption_notice_is_answered_with_a_checkpoint(
    tiny_llama: Path, talk: list[TrainExample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.2")
    config = Train(
        epochs=STEPS, examples_per_step=len(talk), learning_rate=1e-4, precision="fp32", zero_stage=0,
        checkpoint_every=10 * STEPS,
    )  # fmt: skip
    runs = Folder(str(tmp_path))
    target, shown = runs.child("student"), runs.child("examples")
    write_rows(shown, talk, TrainExample)
    rows, digest, _ = summary(shown, TrainExample)
    inputs = {"examples": Done(shown, {"rows": rows, "digest": digest})}
    found: list[Path] = []

    def drain() -> None:
        """When training has begun; then look for what it leaves."""
        curve = target.local_path() / student.CURVE
        while not over.wait(0.05):
            if curve.exists() and curve.read_text():
                break
        _drain_this_node()
        while not over.wait(0.02) and not found:
            found.extend(target.local_path().glob("train-*/**/checkpoint_*/*"))

    with session() as live:
        over = threading.Event()
        notice = threading.Thread(target=drain)
        notice.start()
        try:
            run = StageRun(target, inputs, runs, Progress(out=io.StringIO()))
            outcome = student.run_train(config, 3, tiny_llama, lambda: live, run)
        finally:
            over.set()
            notice.join()
    assert found, "nothing was left but by the notice, as checkpoint_every is never reached"
    assert outcome.facts["steps"] == STEPS
    steps = [json.loads(line)["step"] for line in (target.local_path() / student.CURVE).read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1)), "it went on where it was"


def _drain_this_node() -> None:
    import ray
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    context = ray.get_runtime_context()
    client = ray._raylet.GcsClient(address=context.gcs_address)
    deadline_ms = (time.time_ns() // 1_000_000) + 600_000
    accepted, why = client.drain_node(
        context.get_node_id(), DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"), "test", deadline_ms
    )
    assert accepted, why
