"""The method in which teachers explain the answers to multiple-choice questions."""

from typing import Literal

from pydantic import model_validator

from pipelines.core.config import Accuracy, Asked, Questions, Rationales, Student, Train, VLLMTeacher
from pipelines.core.recipe.base import Recipe, check_student


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
        check_student(student, self.teachers)
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
