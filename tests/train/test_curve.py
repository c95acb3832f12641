"""The loss curve on disk: what a full disk tore, and steps that are done again."""

import io
import json
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from disks import SmallDisk

from pipelines.core.progress import Progress
from pipelines.train.curve import CURVE, Curve
from pipelines.train.job import StepDone
from pipelines.train.track import Tracks


def opened(folder: Path, quiet: Progress) -> Curve:
    return Curve(folder / CURVE, quiet, Tracks(folder, "student-1a2b", {}, (), print), None, 1)


def done(step: int, loss: float = 2.0) -> StepDone:
    return StepDone(step, 9, 100, {"answer": loss}, 0.1, 2.0)


def told(curve: Curve) -> list[tuple[Any, Any]]:
    return [(point["step"], point["losses"]["answer"]) for point in curve.points]


def test_steps_that_are_done_again_are_told_once(tmp_path: Path, quiet: Progress) -> None:
    curve = opened(tmp_path, quiet)
    for step in (1, 2, 3):
        curve.add(done(step))
    curve = opened(tmp_path, quiet)
    curve.add(done(3, 1.5))
    curve.add(done(4, 1.0))
    assert told(curve) == told(opened(tmp_path, quiet)) == [(1, 2.0), (2, 2.0), (3, 1.5), (4, 1.0)]


def test_the_first_step_took_its_time_too(tmp_path: Path, quiet: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    shown = io.StringIO()
    progress = replace(quiet, out=shown, every_s=0.0)
    opened(tmp_path, progress).add(done(1))
    assert "50 tokens/s" in shown.getvalue()  # 100 in 2 s
    assert "0:16 left" in shown.getvalue()


@pytest.mark.parametrize("torn", ['{"step": 3, "tok', '{"st', '{"step": 3, "losses": {"answer": 9.0}}'])
def test_a_torn_line_goes_and_the_next_stands_alone(tmp_path: Path, quiet: Progress, torn: str) -> None:
    curve = opened(tmp_path, quiet)
    curve.add(done(1))
    curve.add(done(2))
    with (tmp_path / CURVE).open("a") as file:
        file.write(torn)
    curve = opened(tmp_path, quiet)
    assert told(curve) == [(1, 2.0), (2, 2.0)]
    curve.add(done(3, 1.5))
    assert told(opened(tmp_path, quiet)) == [(1, 2.0), (2, 2.0), (3, 1.5)]


def test_on_a_disk_that_fills_up_what_was_told_stays(disk: SmallDisk, quiet: Progress) -> None:
    curve = opened(disk.path, quiet)
    for step in range(1, 41):
        curve.add(done(step))
    disk.leave(0)
    with pytest.raises(OSError, match="No space left"):
        deque((curve.add(done(step)) for step in range(41, 10_000)), maxlen=0)
    disk.leave(2**20)
    kept = opened(disk.path, quiet).points
    assert [point["step"] for point in kept] == list(range(1, len(kept) + 1))
    assert len(kept) >= 40
    for line in (disk.path / CURVE).read_text().splitlines():
        json.loads(line)
