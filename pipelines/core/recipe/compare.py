"""The method in which models answer the same questions and are judged, or are put to benchmarks, or both."""

from typing import Literal

from pydantic import model_validator

from pipelines.core.config import (
    AnyJudge,
    AskedJudge,
    Benchmarks,
    ComparedAnswers,
    HTTPTeacher,
    LikelihoodJudge,
    OpenQuestions,
    VLLMTeacher,
)
from pipelines.core.recipe.base import Recipe


class Compare(Recipe):
    """Several models answer the same open questions, and a judge says which answers are better; or benchmarks measure
    them. Without a judge no question is asked.
    """

    method: Literal["compare"]
    questions: OpenQuestions = OpenQuestions()
    answers: ComparedAnswers
    judge: AnyJudge | None = None
    benchmarks: Benchmarks | None = None

    @property
    def the_judge(self) -> AnyJudge:
        """The judge's section, where it is known that there is one."""
        assert self.judge is not None, "nobody judges"
        return self.judge

    @property
    def challengers(self) -> tuple[str, ...]:
        """The models that are compared with the baseline; none where answers are only judged by themselves."""
        baseline = self.judge.baseline if self.judge else None
        return tuple(m for m in self.answers.models if m != baseline) if baseline else ()

    @property
    def scored(self) -> tuple[str, ...]:
        """The models whose answers are judged by themselves."""
        return self.answers.models if isinstance(self.judge, AskedJudge) and "single" in self.judge.kinds else ()

    @model_validator(mode="after")
    def _models_are_there(self) -> "Compare":
        if strange := set(self.answers.models) - self.teachers.keys():
            raise ValueError(f"answers.models names {sorted(strange)}; the teachers are {sorted(self.teachers)}")
        for where, section in (("judge", self.judge), ("benchmarks", self.benchmarks)):
            baseline = section.baseline if section else None
            if baseline is not None and baseline not in self.answers.models:
                raise ValueError(f"{where}.baseline names {baseline!r}; answers.models are {list(self.answers.models)}")
            if baseline is not None and len(self.answers.models) == 1:
                raise ValueError("answers.models has the baseline alone; add a model to compare with it")
        return self

    @model_validator(mode="after")
    def _is_measured(self) -> "Compare":
        if self.judge is None and self.benchmarks is None:
            raise ValueError("say how the models are compared: with `judge`, with `benchmarks`, or with both")
        return self

    @model_validator(mode="after")
    def _are_asked_in_tokens(self) -> "Compare":
        for model in self.answers.models if self.benchmarks else ():
            spec = self.teachers[model]
            if not isinstance(spec, VLLMTeacher) and not (isinstance(spec, HTTPTeacher) and spec.api == "vllm"):
                raise ValueError(
                    f"answers.models names {model!r}, and benchmarks need log-likelihoods of given tokens, which only "
                    "teachers of kind vllm, or http with `api: vllm`, can tell"
                )
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
