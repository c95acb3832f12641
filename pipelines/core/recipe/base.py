"""What every method's recipe has, and what depends on what within it.

Knows sections that several methods share. Each method's own are in the file of its name.
"""

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, Field, model_validator

from pipelines.core.config import (
    Answers,
    AnyAnswers,
    AnyInstructions,
    HTTPTeacher,
    Instances,
    LocalTeacher,
    PrunedStudent,
    RandomStudent,
    Reasoning,
    Seeds,
    Strict,
    Student,
    Teacher,
    VLLMTeacher,
)

STUDENT = "student"  # a student's name where it is asked as teachers are


class Recipe(Strict):
    """What every method's recipe has."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    method: str
    seed: int = Field(17, ge=0)
    notes: tuple[str, ...] = Field((), description="what a reader should know; `plan` and the report show it")
    teachers: dict[str, Teacher] = Field(default={})

    @model_validator(mode="after")
    def _names_meet(self) -> "Recipe":
        for where, name in _named_teachers(self):
            if name not in self.teachers:
                raise ValueError(f"{where} names {name!r}; the teachers are {sorted(self.teachers)}")
        return self


class DataRecipe(Recipe):
    """What every method has in which teachers write instructions and answers."""

    teachers: dict[str, Teacher] = Field(min_length=1)
    seeds: Seeds = Seeds()
    instructions: AnyInstructions
    instances: Instances | None = None
    answers: AnyAnswers

    @property
    def reasoning(self) -> Reasoning | None:
        """The marks around the teacher's thoughts, where it thinks aloud."""
        return self.answers.reasoning if isinstance(self.answers, Answers) else None

    @property
    def trained_reasoning(self) -> Reasoning | None:
        """The same, where the student learns to think aloud too."""
        return self.reasoning if self.reasoning and self.reasoning.keep == "train" else None


def signal_teachers(student: Student) -> list[str]:
    """The teachers that a student's signals come from, each once."""
    told = student.signals
    return list(dict.fromkeys(told.values() if isinstance(told, dict) else [told] if told else []))


def check_student(student: Student, teachers: Mapping[str, Teacher]) -> None:
    """What needs a teacher's weights or distributions names one that has them."""
    for where, train in student.trainings.items():
        if train.has("dpo"):
            raise ValueError(f"{where}.losses: 'dpo' learns preferences between two answers, and no data here has them")
        if (train.needs_signals or train.needs_teacher) and not student.signals:
            needing = "kd" if train.has("kd") else "attention"
            raise ValueError(f"{where}.losses has {needing!r}, so student.signals must name a teacher")
    init = student.init
    if isinstance(init, PrunedStudent | RandomStudent) and not isinstance(teachers[init.teacher], LocalTeacher):
        raise ValueError(
            f"student.init.teacher names {init.teacher!r}, whose model is not here to start from; name a teacher "
            "of kind vllm, or give a model of your own: student.init: {kind: model, model: ...}"
        )
    for name in signal_teachers(student):
        if not _scores(teachers[name]):
            raise ValueError(
                f"student.signals names {name!r}: an HTTP API or a record gives no full distributions over the "
                "student's tokens; name a teacher of kind vllm, or http with `api: vllm`, or drop 'kd' and the signals"
            )
    if any(train.needs_teacher for train in student.trainings.values()) and not (
        isinstance(student.signals, str) and isinstance(teachers[student.signals], VLLMTeacher)
    ):
        raise ValueError(
            f"student.signals is {student.signals!r}; what runs beside the student (for 'attention', or `kd: {{source: "
            "online}`) is one teacher of kind vllm; name one, or take 'kd' as captured"
        )


def _scores(teacher: Teacher) -> bool:
    return isinstance(teacher, LocalTeacher) or (isinstance(teacher, HTTPTeacher) and teacher.api == "vllm")


def _named_teachers(section: BaseModel, path: str = "") -> Iterator[tuple[str, str]]:
    """(key, teacher) wherever a section names one."""
    for name, value in section:
        if name in ("teacher", "signals") and isinstance(value, str):
            yield f"{path}{name}", value
        elif name == "signals" and isinstance(value, dict):
            yield from ((f"{path}{name}.{source}", teacher) for source, teacher in value.items())
        elif isinstance(value, BaseModel):
            yield from _named_teachers(value, f"{path}{name}.")
        elif name == "sources":
            for source, section in value.items():
                yield from _named_teachers(section, f"{path}{name}.{source}.")
