"""The method in which a student learns from data that is there already."""

from typing import Literal

from pydantic import model_validator

from pipelines.core.config import Bootstrap, Data, Student
from pipelines.core.recipe.base import Recipe, check_student


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
        check_student(self.student, self.teachers)
        return self
