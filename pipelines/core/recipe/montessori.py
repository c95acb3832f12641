"""The method in which a teacher is tuned to write what helps one student."""

from typing import Literal

from pydantic import model_validator

from pipelines.core.config import Answers, Compared, Instructions, Learn, LocalTeacher, Rounds, SplitSeeds, Student
from pipelines.core.recipe.base import DataRecipe, check_student


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
        check_student(student, self.teachers)
        return self
