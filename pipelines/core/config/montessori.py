"""Rounds in which a teacher learns to write what helps one student (Montessori-Instruct, arXiv 2410.14208).

Defaults are the released code's where the paper leaves a choice open.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.core.config.base import Strict
from pipelines.core.config.evaluation import Bootstrap
from pipelines.core.config.preferences import Preferences
from pipelines.core.config.probing import Probe
from pipelines.core.config.training import Loss, Train


class WarmTrain(Train):
    """A short training whose rate ends at its peak, so that the step that is probed is as large as they come."""

    learning_rate: float = Field(5e-6, gt=0, lt=1)
    schedule: Literal["ramp", "constant", "wsd", "linear", "cosine"] = "ramp"
    warmup: float = Field(0.0, ge=0, lt=1)
    betas: tuple[float, float] = (0.9, 0.999)
    examples_per_step: int = Field(32, ge=1)
    warm: Literal[True] = True

    @model_validator(mode="after")
    def _answers_only(self) -> Self:
        if self.losses != {"answer": 1.0}:
            raise ValueError("losses: the student that is probed learns answers only; leave this out")
        return self


class WarmUp(Strict):
    """The student that a round's rows are probed with.

    After a few steps a row's own squared gradient bends the moments' part of its step, and this decides most of its
    score; after a hundred it is what the row teaches (`benchmarks/RESULTS.md`).
    """

    rows: int = Field(
        100, ge=1, description="examples, the first ones up to the end of a prompt's; all after them are probed"
    )
    start: Literal["first", "last"] = Field(
        "first", description="from the student as it is at first, or as the round before has warmed it up"
    )
    train: WarmTrain = WarmTrain()


class TeacherTrain(Train):
    """Direct preference optimisation of the teacher (arXiv 2305.18290)."""

    learning_rate: float = Field(1e-6, gt=0, lt=1)
    schedule: Literal["wsd", "linear", "cosine", "constant", "ramp"] = "wsd"
    warmup: float = Field(0.1, ge=0, lt=1)
    decay: float = Field(0.4, gt=0, le=1)
    final_learning_rate: float = Field(1e-3, ge=0, le=1)
    betas: tuple[float, float] = (0.9, 0.999)
    examples_per_step: int = Field(2, ge=1, description="preferences")
    losses: dict[Loss, float] = Field(default={"dpo": 1.0}, description="preferences alone")

    @model_validator(mode="after")
    def _preferences_only(self) -> Self:
        if self.losses.keys() != {"dpo"}:
            raise ValueError("losses: a teacher is tuned on preferences, by 'dpo' alone")
        if self.warm:
            raise ValueError("warm: a teacher is not probed; drop it")
        return self


class Rounds(Strict):
    """Each: the teacher writes, a student warms up on some of it and is probed with the rest, the teacher is tuned."""

    count: int = Field(1, ge=1, le=16)
    warm_up: WarmUp = WarmUp()
    probe: Probe
    preferences: Preferences = Preferences()
    tune: TeacherTrain = TeacherTrain()


class Compared(Bootstrap):
    """Students of one budget, of each teacher's data: the first one's and every tuned one's. What they are measured on
    are the held-out seeds' own answers.
    """

    rows: int = Field(ge=1, description="examples of each teacher, drawn by the seed; all where there are fewer")
    students: int = Field(1, ge=1, le=16, description="of each teacher, each with another order of rows")
