"""What the tests of real training runs share: a model with its examples, progress that nobody sees, equal weights.

Knows the training stage. Does not know which model learns what.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cluster.session import Session
from pipelines.core.config import Train
from pipelines.core.parts import summary, write_rows
from pipelines.core.progress import Progress
from pipelines.core.records import SoftTargets, TrainExample
from pipelines.core.stage import Done, Outcome, StageRun
from pipelines.core.storage import Folder
from pipelines.train import student

SEED = 3
Weights = Mapping[str, Tensor]


@dataclass
class Shown(Progress):
    """Progress that nobody sees, and that remembers where each count began."""

    out: io.StringIO = field(default_factory=io.StringIO)  # type: ignore[assignment]
    begun: list[tuple[int, int]] = field(default_factory=list)  # (done before, total)

    def begin(self, label: str, total: int, done: int = 0, unit: str = "rows") -> None:
        self.begun.append((done, total))
        super().begin(label, total, done, unit)


@dataclass(frozen=True)
class Lesson:
    """What every run learns from."""

    model: Path
    inputs: Mapping[str, Done]
    examples: Sequence[TrainExample]
    signals: Mapping[str, SoftTargets]

    def train(self, session: Session, folder: Path, config: Train, progress: Progress) -> Outcome:
        run = StageRun(Folder(str(folder)), self.inputs, Folder(str(folder.parent)), progress)
        return student.run_train(config, SEED, self.model, lambda: session, run)


def lesson_of(model: Path, examples: Sequence[TrainExample], signals: Sequence[SoftTargets], folder: Path) -> Lesson:
    """The stages' outputs that a training starts from, in this folder."""
    inputs = {}
    for name, rows, kind in (("examples", examples, TrainExample), ("soft_targets", signals, SoftTargets)):
        made = Folder(str(folder)).child(name)
        write_rows(made, rows, kind)
        count, digest, _ = summary(made, kind)
        inputs[name] = Done(made, {"rows": count, "digest": digest})
    return Lesson(model, inputs, examples, {s.example_id: s for s in signals})


@contextmanager
def quick_watch() -> Iterator[None]:
    """The driver looks at the board a hundred times a second: these steps are far shorter than real ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(student, "Watch", partial(student.Watch, every_s=0.01))
        yield


def assert_close(found: Weights, wanted: Weights, learning_rate: float) -> None:
    """Equal but for the order in which gradients were added up.

    Adam divides by the gradient's own size: where terms cancel to almost nothing, their rounding is all that is
    left and becomes a step of its own. Two plain torch runs in fp32 and fp64 differ just so, in a few elements of a
    hundred thousand, and in more or fewer by the kernels a processor chooses. Hence two bounds, in steps of the
    optimizer: a thousandth for 999 elements of a thousand, and a fifth for the worst.
    """
    assert found.keys() == wanted.keys()
    apart = torch.cat([(found[name] - wanted[name]).flatten().double() for name in wanted]).abs() / learning_rate
    most, worst = float(apart.quantile(0.999)), float(apart.max())
    assert most <= 1e-3, f"{most} of a step apart, the worst {worst}"
    assert worst <= 0.2, f"the worst is {worst} of a step apart"
