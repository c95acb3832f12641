"""The loss curve of a training, on disk while it goes on.

Knows steps that are done, progress and trackers. Does not know who makes the steps, nor where they are made.
"""

import json
import os
from pathlib import Path
from typing import Any

from pipelines.core.errors import UserError
from pipelines.core.progress import Progress
from pipelines.core.storage import Folder
from pipelines.train.job import StepDone
from pipelines.train.track import Tracks

CURVE = "curve.jsonl"


class Curve:
    """The loss curve on disk, one line per step; a resumed run replaces the steps it does again.

    Where the stage's folder is on an object store, it has the curve as often as it has a checkpoint.
    """

    def __init__(self, file: Path, progress: Progress, tracks: Tracks, store: Folder | None, store_every: int) -> None:
        self._file, self._progress, self._tracks, self._store = file, progress, tracks, store
        self._store_every = store_every
        self._by_step: dict[int, dict[str, Any]] = {p["step"]: p for p in map(json.loads, _whole_lines(file))}
        self._begun = False

    @property
    def points(self) -> list[dict[str, Any]]:
        return [self._by_step[step] for step in sorted(self._by_step)]

    def add(self, done: StepDone) -> None:
        if not self._begun:
            self._begun = True
            self._progress.begin("student", done.steps, done.step - 1, unit="steps")
            self._progress.ready(done.seconds)
        if done.suspects:
            raise UserError(_no_number(done))
        losses = {name: round(value, 5) for name, value in done.losses.items()}
        looked = {} if done.validation is None else {"validation": round(done.validation, 5)}
        self._by_step[done.step] = {
            "step": done.step, "tokens": done.tokens, "losses": losses, "learning_rate": done.learning_rate, **looked,
        }  # fmt: skip
        with self._file.open("a") as handle:
            handle.write(json.dumps(self._by_step[done.step]) + "\n")
        if self._store and done.step % self._store_every == 0:
            self._store.write_bytes(self._file.name, self._file.read_bytes())
        self._tracks.log(self._by_step[done.step])
        self._progress.advance(1, done.tokens)


def _whole_lines(file: Path) -> list[bytes]:
    """A full disk may have torn the last one, before its step had a checkpoint: it goes, and the step is done again."""
    written = file.read_bytes() if file.is_file() else b""
    whole = written[: written.rfind(b"\n") + 1]
    if whole != written:
        os.truncate(file, len(whole))
    return whole.splitlines()


def _no_number(done: StepDone) -> str:
    shown = ", ".join(done.suspects[:8]) + (" and others" if len(done.suspects) > 8 else "")
    return (
        f"training stopped before step {done.step}, as the loss of these examples is no number: {shown}. "
        "`tutelage trace` shows them; a lower learning_rate or a longer warmup of this training may help, or "
        "precision: fp32. The same command goes on from the last checkpoint."
    )
