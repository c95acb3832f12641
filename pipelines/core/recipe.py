"""The recipe: what one run does. One class per method, which names its sections; what all have is shared.

Knows which sections a method has and how they depend on each other. A new method is a class here, a member of
`AnyRecipe`, and its stages in `pipelines.recipes`.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, model_validator

from pipelines.core.config import (
    Answers,
    AnyAnswers,
    AnyInstructions,
    Evaluate,
    HTTPTeacher,
    Instances,
    LocalTeacher,
    PrunedStudent,
    Reasoning,
    Seeds,
    SplitSeeds,
    Strict,
    Student,
    Teacher,
    VLLMTeacher,
)


class Recipe(Strict):
    """What every method's recipe has."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    method: str
    seed: int = Field(17, ge=0)
    notes: tuple[str, ...] = Field((), description="what a reader should know; `plan` and the report show it")
    teachers: dict[str, Teacher] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_meet(self) -> "Recipe":
        for where, name in _named_teachers(self):
            if name not in self.teachers:
                raise ValueError(f"{where} names {name!r}; the teachers are {sorted(self.teachers)}")
        return self


class DataRecipe(Recipe):
    """What every method has in which teachers write instructions and answers."""

    seeds: Seeds = Seeds()
    instructions: AnyInstructions
    instances: Instances | None = None
    answers: AnyAnswers


class Generate(DataRecipe):
    """Seeds become data, and that is all."""

    method: Literal["generate"]


class Distil(DataRecipe):
    """A teacher writes data, and a student learns from its words and its distributions."""

    method: Literal["distil"]
    seeds: SplitSeeds = SplitSeeds()
    student: Student
    evaluate: Evaluate

    @property
    def reasoning(self) -> Reasoning | None:
        """The marks around the teacher's thoughts, where it thinks aloud."""
        return self.answers.reasoning if isinstance(self.answers, Answers) else None

    @property
    def trained_reasoning(self) -> Reasoning | None:
        """The same, where the student learns to think aloud too."""
        return self.reasoning if self.reasoning and self.reasoning.keep == "train" else None

    @model_validator(mode="after")
    def _signals_meet(self) -> "Distil":
        train = self.student.train
        if self.student.signals is None and (train.needs_signals or train.needs_teacher):
            needing = "kd" if train.has("kd") else "attention"
            raise ValueError(f"student.train.losses has {needing!r}, so student.signals must name a teacher")
        return self

    @model_validator(mode="after")
    def _teachers_can(self) -> "Distil":
        """What needs a teacher's weights or distributions names one that has them."""
        init, signals = self.student.init, self.student.signals
        if isinstance(init, PrunedStudent) and not isinstance(self.teachers[init.teacher], LocalTeacher):
            raise ValueError(
                f"student.init.teacher names {init.teacher!r}, whose weights are not here to be pruned; name a teacher "
                "of kind vllm, or give a model of your own: student.init: {kind: model, model: ...}"
            )
        if signals is not None and not _scores(self.teachers[signals]):
            raise ValueError(
                f"student.signals names {signals!r}: an HTTP API or a record gives no full distributions over the "
                "student's tokens; name a teacher of kind vllm, or http with `api: vllm`, or drop 'kd' and the signals"
            )
        beside = signals if self.student.train.needs_teacher else None
        if beside is not None and not isinstance(self.teachers[beside], VLLMTeacher):
            raise ValueError(
                f"student.signals names {beside!r}, which is to run beside the student (for 'attention', or "
                "`kd: {source: online}`) and has no weights here; name a teacher of kind vllm, or take 'kd' as captured"
            )
        return self


AnyRecipe = Distil | Generate
_READER: TypeAdapter[AnyRecipe] = TypeAdapter(Annotated[AnyRecipe, Field(discriminator="method")])


def recipe_of(data: Any) -> AnyRecipe:
    """A recipe out of plain values. Raises pydantic's ValidationError."""
    return _READER.validate_python(data)


def _scores(teacher: Teacher) -> bool:
    return isinstance(teacher, LocalTeacher) or (isinstance(teacher, HTTPTeacher) and teacher.api == "vllm")


def _named_teachers(section: BaseModel, path: str = "") -> Iterator[tuple[str, str]]:
    """(key, teacher) wherever a section names one."""
    for name, value in section:
        if name in ("teacher", "signals") and isinstance(value, str):
            yield f"{path}{name}", value
        elif isinstance(value, BaseModel):
            yield from _named_teachers(value, f"{path}{name}.")
