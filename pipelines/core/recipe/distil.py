"""Methods in which teachers write data: it is the result, or a student learns from it."""

from typing import Literal

from pydantic import model_validator

from pipelines.core.config import Evaluate, Learn, SplitSeeds, Student
from pipelines.core.recipe.base import STUDENT, DataRecipe, check_student


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
        check_student(self.student, self.teachers)
        return self
