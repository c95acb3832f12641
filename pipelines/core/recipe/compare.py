"""The method in which models answer the same questions and are judged."""

from typing import Literal

from pydantic import model_validator

from pipelines.core.config import (
    AnyJudge,
    AskedJudge,
    ComparedAnswers,
    LikelihoodJudge,
    OpenQuestions,
    VLLMTeacher,
)
from pipelines.core.recipe.base import Recipe


class Compare(Recipe):
    """Several models answer the same open questions, and a judge says which answers are better."""

    method: Literal["compare"]
    questions: OpenQuestions = OpenQuestions()
    answers: ComparedAnswers
    judge: AnyJudge

    @property
    def challengers(self) -> tuple[str, ...]:
        """The models that are compared with the baseline; none where answers are only judged by themselves."""
        return tuple(m for m in self.answers.models if m != self.judge.baseline) if self.judge.baseline else ()

    @property
    def scored(self) -> tuple[str, ...]:
        """The models whose answers are judged by themselves."""
        return self.answers.models if isinstance(self.judge, AskedJudge) and "single" in self.judge.kinds else ()

    @model_validator(mode="after")
    def _models_are_there(self) -> "Compare":
        if strange := set(self.answers.models) - self.teachers.keys():
            raise ValueError(f"answers.models names {sorted(strange)}; the teachers are {sorted(self.teachers)}")
        baseline = self.judge.baseline
        if baseline is not None and baseline not in self.answers.models:
            raise ValueError(f"judge.baseline names {baseline!r}; answers.models are {list(self.answers.models)}")
        if baseline is not None and not self.challengers:
            raise ValueError("answers.models has the baseline alone; add a model to compare with it")
        return self

    @model_validator(mode="after")
    def _likelihood_is_here(self) -> "Compare":
        judge = self.judge
        if isinstance(judge, LikelihoodJudge) and not isinstance(self.teachers[judge.teacher], VLLMTeacher):
            raise ValueError(
                f"judge.teacher names {judge.teacher!r}, whose likelihoods nobody here can measure; name a teacher of "
                "kind vllm, or have one asked (kind: asked)"
            )
        return self
