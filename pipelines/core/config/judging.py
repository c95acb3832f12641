"""What models are compared on, and who judges them."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipelines.core.config.base import Sampling, Strict, by_default
from pipelines.core.config.evaluation import Bootstrap

JudgeKind = Literal["pairwise", "single"]


class OpenQuestions(Strict):
    """What is asked: JSON lines of {id?, category?, turns, reference?} with one turn or two, or ours."""

    path: str = Field("builtin", description="a file, or 'builtin'")
    limit: int | None = Field(None, ge=2, description="questions to ask, drawn by the seed; all without it")


class ComparedAnswers(Strict):
    """Which teachers are compared, and how all of them are sampled."""

    models: tuple[str, ...] = Field(min_length=1)
    sampling: Sampling = Sampling(temperature=0.7, max_tokens=512)

    @field_validator("models")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a model is named twice")
        return value


class JudgeCheck(Strict):
    """What a judge must show on answers of which it is plain which is better, before it may judge others."""

    agreement: float = Field(0.8, ge=0, le=1, description="the least share of its verdicts that are right")
    unparsable: float = Field(0.1, ge=0, le=1, description="the largest share of its replies without a verdict")
    position_bias: float = Field(
        0.2,
        ge=0,
        le=1,
        description="the largest share of pairs that one place wins in both orders, whatever stands there",
    )


class Judging(Strict):
    """What every judge has."""

    teacher: str
    baseline: str | None = Field(None, description="the model that the others are compared with, in pairs")
    self_check: JudgeCheck = JudgeCheck()
    bootstrap: Bootstrap = Bootstrap()
    difficulty: str | None = Field(
        None,
        description="JSON lines of {id, difficulty}: a coefficient for each question, as length-controlled win rates "
        "of a public benchmark have them; without it they have no such term",
    )

    @model_validator(mode="after")
    def _difficulty_of_pairs(self) -> Self:
        if self.difficulty is not None and self.baseline is None:
            raise ValueError("`difficulty` is a term of win rates, and without `baseline` there are none")
        return self


class AskedJudge(Judging):
    """A chat model that is asked which of two answers is better, in both orders, or how good each is by itself."""

    kind: Literal["asked"] = "asked"
    kinds: tuple[JudgeKind, ...] = Field(("pairwise", "single"), min_length=1)
    sampling: Sampling = Sampling(temperature=0, max_tokens=1024)

    @model_validator(mode="after")
    def _has_a_baseline(self) -> Self:
        if ("pairwise" in self.kinds) != (self.baseline is not None):
            raise ValueError(
                "`kinds: [pairwise]` and `baseline` go together: say which model the others are compared with"
            )
        return self


class LikelihoodJudge(Judging):
    """A model that prefers the answer which it finds likelier per token: for where no judge is at hand that follows a
    form. It says how a model of its kind would write, more than how good an answer is.
    """

    kind: Literal["likelihood"]
    baseline: str
    margin: float = Field(0.02, ge=0, description="nats per token; nearer than that is a tie")


AnyJudge = Annotated[AskedJudge | LikelihoodJudge, Field(discriminator="kind"), by_default("asked")]
