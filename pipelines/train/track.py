"""Where a training curve goes while it grows: TensorBoard files always, MLflow and Weights & Biases where asked for.

Knows those three clients, each with its own settings from the environment (MLFLOW_TRACKING_URI, WANDB_API_KEY,
WANDB_MODE), which are never read here. Runs in the driver. Does not know training.
"""

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pipelines.core.config import Tracker
from pipelines.core.errors import UserError

PROJECT = "tutelage"
FOLDER = "tensorboard"
GIVEN_UP_AFTER = 3  # points that a server did not take, each after the client's own retries
Say = Callable[[str], None]  # words for the user


class Sink(Protocol):
    """Takes a step's figures."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...

    def close(self) -> None: ...


class Tracks:
    """All sinks of one run, opened with its first figures."""

    def __init__(
        self, folder: Path, name: str, settings: Mapping[str, Any], trackers: Sequence[Tracker], say: Say
    ) -> None:
        self._folder, self._name, self._settings, self._trackers, self._say = folder, name, settings, trackers, say
        self._sinks: list[Sink] = []

    def log(self, point: Mapping[str, Any]) -> None:
        """A point of the curve: {step, tokens, losses: {name: value}, learning_rate, validation where looked at}."""
        if not self._sinks:
            self._sinks = [_TensorBoard(self._folder / FOLDER)]
            for tracker in self._trackers:
                self._sinks.append(_SINKS[tracker](self._folder, self._name, self._settings, self._say))
        values = {f"loss/{name}": float(value) for name, value in point["losses"].items()}
        values |= {name: float(point[name]) for name in ("tokens", "learning_rate", "validation") if name in point}
        for sink in self._sinks:
            sink.log(values, point["step"])

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()


def check(where: str, trackers: Sequence[Tracker]) -> None:
    """UserError, naming the recipe's key `where`, for a client that is not installed."""
    for tracker in trackers:
        if importlib.util.find_spec(tracker) is None:
            package = "mlflow-skinny" if tracker == "mlflow" else tracker
            raise UserError(f"{where}: {tracker!r} is not installed; .venv/bin/pip install {package}")


class _TensorBoard:
    """Written in the caller's thread: the client's own dies of a full disk, and its caller waits for ever."""

    def __init__(self, folder: Path) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))

    def log(self, values: Mapping[str, float], step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in values.items():
            self._writer.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    """A server that is gone costs points of the curve and not the training; it is given up after a few."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any], say: Say) -> None:
        import mlflow

        mlflow.set_experiment(PROJECT)
        self._mlflow, self._missed, self._say = mlflow, 0, say
        mlflow.start_run(run_name=name)
        mlflow.log_params(dict(settings))

    def log(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.exceptions import MlflowException

        if self._missed >= GIVEN_UP_AFTER:
            self._missed += 1
            return
        try:
            self._mlflow.log_metrics(dict(values), step=step)
        except MlflowException as error:
            self._missed += 1
            self._say(f"  mlflow did not take step {step}: {error}")

    def close(self) -> None:
        if self._missed:
            self._say(f"  mlflow lacks {self._missed} steps; TensorBoard's files have all")
        if self._missed < GIVEN_UP_AFTER:
            self._mlflow.end_run()


class _WandB:
    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any], say: Say) -> None:
        import wandb

        self._run = wandb.init(project=PROJECT, name=name, config=dict(settings), dir=str(folder))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


_SINKS: dict[Tracker, type[_MLflow] | type[_WandB]] = {"mlflow": _MLflow, "wandb": _WandB}
