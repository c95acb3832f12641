"""The recipe: what one run does. One class per method, which names its sections; what all have is shared.

Knows which sections a method has and how they depend on each other. A new method is a class here, a member of
`AnyRecipe`, and its stages in `pipelines.recipes`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, model_validator

from pipelines.core.config import (
    Accuracy,
    Answers,
    AnyAnswers,
    AnyInstructions,
    Asked,
    Bootstrap,
    Compared,
    Data,
    Evaluate,
    HTTPTeacher,
    Instances,
    Instructions,
    Learn,
    LocalTeacher,
    PrunedStudent,
    Questions,
    RandomStudent,
    Rationales,
    Reasoning,
    Rounds,
    Seeds,
    SplitSeeds,
    Strict,
    Student,
    Teacher,
    Train,
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


class Generate(DataRecipe):
    """Seeds become data, and that is all."""

    method: Literal["generate"]


class Distil(DataRecipe):
    """A teacher writes data, and a student learns from its words and its distributions."""

    method: Literal["distil"]
    seeds: SplitSeeds = SplitSeeds()
    student: Student
    evaluate: Evaluate

    @model_validator(mode="after")
    def _student_can_learn(self) -> "Distil":
        if isinstance(self.student.signals, dict):
            raise ValueError("student.signals: there are no several sources of data here; name one teacher")
        if self.student.learn != Learn():
            raise ValueError("student.learn is for `method: tune`; here the student learns the answers")
        if self.student.on_policy and STUDENT in self.teachers:
            raise ValueError(
                f"teachers.{STUDENT}: with student.on_policy this is the name of the student that answers; take another"
            )
        _check_student(self.student, self.teachers)
        return self


class Montessori(DataRecipe):
    """A teacher writes data, and is tuned round by round to write what helps one student (arXiv 2410.14208)."""

    method: Literal["montessori"]
    seeds: SplitSeeds = SplitSeeds()
    instructions: Instructions
    answers: Answers
    rounds: Rounds
    student: Student
    evaluate: Compared

    @property
    def teacher(self) -> str:
        """The one that writes and is tuned."""
        return self.instructions.teacher

    def tuned(self, round: int) -> str:
        """The same after so many rounds, where it is asked as teachers are."""
        return f"{self.teacher}-round-{round}"

    @model_validator(mode="after")
    def _teacher_can_be_tuned(self) -> "Montessori":
        if self.answers.teacher != self.teacher:
            raise ValueError(
                f"answers.teacher ({self.answers.teacher!r}) is not instructions.teacher ({self.teacher!r}); the one "
                "that is tuned writes both"
            )
        if not isinstance(self.teachers[self.teacher], LocalTeacher):
            raise ValueError(f"teachers.{self.teacher}: only a teacher of kind vllm, whose weights are here, is tuned")
        if taken := {self.tuned(n) for n in range(1, self.rounds.count + 1)} & self.teachers.keys():
            raise ValueError(f"teachers: {sorted(taken)} are names of the tuned teacher; take others")
        if self.instructions.samples < 2:
            raise ValueError(
                "instructions.samples: preferences are between completions of one prompt; take at least 2, such as 4"
            )
        if self.instances is not None or self.answers.samples > 1:
            raise ValueError("instances, and several answers.samples, are not for this method: a row is one completion")
        return self

    @model_validator(mode="after")
    def _student_can_be_probed(self) -> "Montessori":
        student = self.student
        if student.signals is not None or student.on_policy is not None:
            raise ValueError("student.signals and student.on_policy are for other methods; here it learns the answers")
        if student.learn != Learn(template=student.learn.template):
            raise ValueError("student.learn: here a student learns answers only; only its template can be another")
        if student.probe is not None:
            raise ValueError("student.probe: here this is rounds.probe")
        if self.rounds.warm_up.rows >= self.instructions.target:
            raise ValueError(
                f"rounds.warm_up.rows ({self.rounds.warm_up.rows}) leave none of instructions.target "
                f"({self.instructions.target}) to be probed"
            )
        _check_student(student, self.teachers)
        return self


class Tune(Recipe):
    """A student learns from data that is there already, and from teachers' distributions over it."""

    method: Literal["tune"]
    data: Data
    student: Student
    evaluate: Bootstrap = Bootstrap()

    @property
    def signals(self) -> dict[str, str]:
        """Teacher by source of data; the domain's expert or the reference (domain alignment, arXiv 2406.19112)."""
        told = self.student.signals
        return dict.fromkeys(self.data.sources, told) if isinstance(told, str) else told or {}

    @model_validator(mode="after")
    def _student_can_learn(self) -> "Tune":
        if strange := self.signals.keys() - self.data.sources.keys():
            raise ValueError(f"student.signals names {sorted(strange)}; data.sources has {sorted(self.data.sources)}")
        if self.student.on_policy:
            raise ValueError(
                "student.on_policy: the rows of `method: tune` are given, answers and all; for a student that answers "
                "itself take `method: distil` with `instructions: {kind: given}`"
            )
        _check_student(self.student, self.teachers)
        return self


class TinyLLM(Recipe):
    """A student learns the answers to multiple-choice questions, and what teachers explain of them, as tasks of its own
    (arXiv 2402.04616).
    """

    method: Literal["tinyllm"]
    data: Questions = Questions()
    rationales: Rationales = Rationales()
    student: Student
    evaluate: Accuracy = Accuracy()

    @property
    def training(self) -> Train:
        """`student.train` with the losses that `rationales` weigh."""
        return self.student.train.model_copy(update={"losses": self.rationales.losses})

    @property
    def asked(self) -> dict[str, Asked]:
        """The sources of rationales that are teachers of this run, by name."""
        return {name: source for name, source in self.rationales.heard.items() if isinstance(source, Asked)}

    @model_validator(mode="after")
    def _student_can_learn(self) -> "TinyLLM":
        student, train = self.student, self.student.train
        if train.losses != {"answer": 1.0}:
            raise ValueError("student.train.losses: here `rationales` weighs the losses (answer_weight, and weight)")
        if train.normalise != "per_example":
            raise ValueError(
                "student.train.normalise: write `per_example`; each loss here is a mean over questions of the mean "
                "over a text's tokens"
            )
        if student.signals is not None or student.on_policy is not None:
            raise ValueError("student.signals and student.on_policy are for other methods; here teachers give words")
        if student.learn.method != "sft" or student.learn.prompt_weight:
            raise ValueError("student.learn: here a student learns answers and rationales only; use `method: sft`")
        if self.evaluate.max_tokens >= student.engine.max_model_len:
            raise ValueError(
                f"evaluate.max_tokens ({self.evaluate.max_tokens}) leaves no room for a question in "
                f"student.engine.max_model_len ({student.engine.max_model_len})"
            )
        _check_student(student, self.teachers)
        return self

    @model_validator(mode="after")
    def _likelihood_is_here(self) -> "TinyLLM":
        select = self.rationales.select
        if select and select.teacher and not isinstance(self.teachers.get(select.teacher), VLLMTeacher):
            raise ValueError(
                f"rationales.select.teacher names {select.teacher!r}, whose likelihoods nobody here can measure; name "
                "a teacher of kind vllm, or choose by agreement or student"
            )
        return self


def signal_teachers(student: Student) -> list[str]:
    """The teachers that a student's signals come from, each once."""
    told = student.signals
    return list(dict.fromkeys(told.values() if isinstance(told, dict) else [told] if told else []))


def _check_student(student: Student, teachers: Mapping[str, Teacher]) -> None:
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


StudentRecipe = Distil | Montessori | TinyLLM | Tune
AnyRecipe = Distil | Generate | Montessori | TinyLLM | Tune
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
        elif name == "signals" and isinstance(value, dict):
            yield from ((f"{path}{name}.{source}", teacher) for source, teacher in value.items())
        elif isinstance(value, BaseModel):
            yield from _named_teachers(value, f"{path}{name}.")
        elif name == "sources":
            for source, section in value.items():
                yield from _named_teachers(section, f"{path}{name}.{source}.")
