"""Training curves in TensorBoard's files, MLflow's store and W&B's offline folder, by their own clients."""

import struct
import time
from pathlib import Path

import pytest
from disks import SmallDisk

from pipelines.core.errors import UserError
from pipelines.train import track
from pipelines.train.track import Tracks

POINTS = [
    {"step": 1, "tokens": 90, "losses": {"answer": 2.5, "kd": 0.5}, "learning_rate": 0.1},
    {"step": 2, "tokens": 80, "losses": {"answer": 2.0}, "learning_rate": 0.2, "validation": 2.25},
]


def _logged(folder: Path, *trackers: track.Tracker) -> None:
    tracks = Tracks(folder, "student-1a2b", {"epochs": 3}, trackers, print)
    for point in POINTS:
        tracks.log(point)
    tracks.close()


def _scalars(folder: Path) -> list[tuple[int, str, float]]:
    """What an event file holds: records of a length, its checksum, an event and its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    (file,) = folder.iterdir()
    data, at, found = file.read_bytes(), 0, []
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + size])
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        at += size + 16
    return found


def test_tensorboards_files_are_always_there(tmp_path: Path) -> None:
    _logged(tmp_path)
    found = _scalars(tmp_path / track.FOLDER)
    assert {(1, "loss/answer", 2.5), (1, "loss/kd", 0.5), (2, "loss/answer", 2.0), (2, "validation", 2.25)} < set(found)
    assert [step for step, name, _ in found if name == "tokens"] == [1, 2]
    assert not [step for step, name, _ in found if name == "validation" and step == 1]


def test_a_full_disk_is_told_and_nobody_waits_for_it(disk: SmallDisk) -> None:
    tracks = Tracks(disk.path, "student-1a2b", {}, (), print)
    tracks.log(POINTS[0])
    disk.leave(0)
    many = {f"loss {n}": 1.0 for n in range(1000)}  # more than the room in the file's last block
    with pytest.raises(OSError, match="No space left"):
        tracks.log({**POINTS[1], "losses": many})


def test_mlflow_has_settings_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # the client without a database has no other
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    _logged(tmp_path, "mlflow")
    (run,) = mlflow.search_runs(experiment_names=[track.PROJECT], output_format="list")
    assert run.info.run_name == "student-1a2b"
    assert run.data.params == {"epochs": "3"}
    assert run.data.metrics["loss/answer"] == 2.0
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss/answer")
    assert {(m.step, m.value) for m in history} == {(1, 2.5), (2, 2.0)}


def test_a_server_that_is_gone_costs_points_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from mlflow.exceptions import MlflowException

    asked: list[int] = []
    said: list[str] = []

    def gone(values: dict[str, float], step: int) -> None:
        asked.append(step)
        raise MlflowException("no answer")

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    monkeypatch.setattr(mlflow, "log_metrics", gone)
    tracks = Tracks(tmp_path, "student", {}, ("mlflow",), said.append)
    for step in range(5):
        tracks.log({**POINTS[0], "step": step})
    tracks.close()
    mlflow.end_run()
    assert asked == [0, 1, 2]  # then it is given up
    assert said[0] == "  mlflow did not take step 0: no answer"
    assert "mlflow lacks 5 steps" in said[-1]
    assert len({step for step, _, _ in _scalars(tmp_path / track.FOLDER)}) == 5


def test_wandb_writes_without_a_network_where_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    _logged(tmp_path, "wandb")
    (run,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    deadline = time.monotonic() + 60  # its own process writes
    while b"loss/answer" not in run.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_client_that_is_missing_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    track.check("student.train.track", ())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"'mlflow' is not installed; .*mlflow-skinny"):
        track.check("student.on_policy.train.track", ("mlflow",))
