"""What passes between the driver and the training workers. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.core.config import Train
from pipelines.core.storage import Folder

MODEL, BEST = "model", "model.best"  # folders of a training stage; the second only while it runs


@dataclass(frozen=True)
class TrainJob:
    """All that a worker needs. Maker: `student`. Reader: every rank."""

    model: str  # a local Hugging Face folder, with its tokenizer
    examples: Folder
    signals: tuple[Folder, ...]  # one for each teacher that was asked
    config: Train
    seed: int
    out: str  # where rank 0 writes the trained Hugging Face folder
    threads: int  # CPU threads of each worker
    chat_template: str = ""  # what the student was taught with, where that is not its model's own
    teacher: str | None = None  # the Hugging Face folder of one that runs beside the student
    teacher_tokens: int | None = None  # how many token ids the teacher knows, of signals too
    reference: Folder | None = None  # the examples' losses before training, where preferences are learnt
    store: Folder | None = None  # the stage's folder, where it is on an object store and `out` is not in it


@dataclass(frozen=True)
class StepDone:
    """One optimizer step, as the driver sees it."""

    step: int
    steps: int
    tokens: int  # real tokens of all ranks
    losses: Mapping[str, float]  # mean per counted unit, before the coefficient
    learning_rate: float
    seconds: float
    validation: float | None = None  # the objective on examples that are not trained on, where it was looked at
    is_last: bool = False  # no step follows, as it is the last or enough is learnt
    suspects: tuple[str, ...] = ()  # the examples whose losses are no numbers; then the step was not made
