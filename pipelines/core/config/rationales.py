"""Multiple-choice questions, and what teachers explain of them: TinyLLM's sections (arXiv 2402.04616)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.core.config.base import Sampling, Strict, by_default
from pipelines.core.config.evaluation import Bootstrap

RATIONALE = "rationale"  # how the losses of rationales begin
RationaleFilter = Literal["cut off", "too short", "runs on", "echoes the prompt", "argues for another"]
RATIONALE_FILTERS: tuple[RationaleFilter, ...] = (
    "runs on", "cut off", "too short", "echoes the prompt", "argues for another",
)  # fmt: skip


class Questions(Strict):
    """The questions: a folder in a public shape (OBQA, ARC, PIQA, RiddleSense, PubMedQA, BioASQ, TinyLLM's release),
    or a JSON lines file of {question, choices, answer}."""

    path: str = Field("builtin", description="a folder, a file, or 'builtin'")
    limit: int | None = Field(None, ge=1, description="questions to learn from, drawn by the seed; all without it")
    test_limit: int | None = Field(None, ge=2, description="to be tested on; without it as many as `limit`")


class InContext(Strict):
    """Answered questions that stand before each one that a teacher explains, the same for all teachers."""

    count: int = Field(2, ge=0, le=16, description="drawn anew for each question, never itself")
    worked: str | None = Field(
        None, description="a source of kind released or file: its rationales stand with them; without it answers alone"
    )


class Writes(Strict):
    """What every source of rationales has."""

    weight: float = Field(1.0, ge=0, description="α of its loss; 0 is as if it were not there")
    prefix: str = Field("explain: ", min_length=1, description="what tells the student whose rationale to write")


class Asked(Writes):
    """A teacher that is told each question with its answer, and asked for the way there."""

    kind: Literal["asked"]
    teacher: str
    prompt: str = Field("rationale-chat", description="a shipped prompt's name, or a Jinja file of your own")
    sampling: Sampling = Sampling(temperature=0, max_tokens=96)


class Released(Writes):
    """What TinyLLM's release has of one of its two teachers, in the folder `llm` beside the questions."""

    kind: Literal["released"]
    of: Literal["flan-t5", "llama-2"]
    path: str | None = Field(None, description="the folder; without it `llm` in data.path")


class FromFile(Writes):
    """JSON lines of {id, rationale}, or {question, rationale}; several for one question: the first counts."""

    kind: Literal["file"]
    path: str


AnyRationales = Annotated[Asked | Released | FromFile, Field(discriminator="kind"), by_default("asked")]


class Select(Strict):
    """Of each question's rationales the best one, in place of all of them.

    `agreement`: the one that says the right option, and is likest the others (ROUGE-L). `student`: after which the
    untrained student finds the right answer likeliest. `likelihood`: the one that a teacher finds likeliest, per token.
    """

    by: Literal["agreement", "student", "likelihood"]
    teacher: str | None = Field(None, description="of `by: likelihood`: a teacher whose model is here")

    @model_validator(mode="after")
    def _teacher_of_likelihood(self) -> Self:
        if (self.by == "likelihood") != (self.teacher is not None):
            raise ValueError("`by: likelihood` and `teacher` go together: say whose likelihood it is")
        return self


class Rationales(Strict):
    """Who explains, what is kept of it, and how much it weighs."""

    sources: dict[str, AnyRationales] = Field({}, description="none: the student learns answers alone")
    in_context: InContext = InContext()
    filters: tuple[RationaleFilter, ...] = RATIONALE_FILTERS
    min_words: int = Field(5, ge=1, description="fewer are 'too short'")
    trim: bool = Field(False, description="before the filters: cut off what runs on, and an unfinished last sentence")
    select: Select | None = Field(None, description="without it every source's are learnt")
    weight: float = Field(1.0, ge=0, description="with `select`: α of the chosen ones")
    prefix: str = Field("explain: ", min_length=1, description="with `select`: of the chosen ones")
    answer_weight: float = Field(1.0, gt=0, description="γ of the answers' loss")
    answer_prefix: str = Field("predict: ", min_length=1)

    @property
    def heard(self) -> dict[str, AnyRationales]:
        """The sources that anything is learnt of, in the order of their names, which is all the order that matters."""
        return {name: self.sources[name] for name in sorted(self.sources) if self.weighed(name)[0]}

    def weighed(self, source: str) -> tuple[float, str]:
        """(α, prefix) of a rationale that this source wrote."""
        section = self if self.select else self.sources[source]
        return section.weight, section.prefix

    def component_of(self, source: str) -> str:
        """The loss that a rationale of this source counts for: of all that are chosen one, or each source's own."""
        return RATIONALE if self.select else f"{RATIONALE} {source}"

    @property
    def losses(self) -> dict[str, float]:
        """Coefficients of the objective γ L_A + Σ_m α_m L_m (arXiv 2402.04616, section 3; γ is its code's)."""
        return {"answer": self.answer_weight} | {self.component_of(name): self.weighed(name)[0] for name in self.heard}

    @model_validator(mode="after")
    def _prefixes_differ(self) -> Self:
        if self.select is None:
            prefixes = [self.answer_prefix, *(source.prefix for source in self.sources.values())]
        else:
            prefixes = [self.answer_prefix, self.prefix]
        if len(set(prefixes)) < len(prefixes):
            raise ValueError(
                f"the prefixes {prefixes} must differ, as they alone tell the student what to write; give each of "
                "`sources` a `prefix` of its own"
            )
        return self

    @model_validator(mode="after")
    def _names_meet(self) -> Self:
        worked = self.in_context.worked
        if worked is not None and not isinstance(self.sources.get(worked), Released | FromFile):
            raise ValueError(f"in_context.worked names {worked!r}, which is no source of kind released or file")
        if self.select is not None and len(self.sources) < 2:
            raise ValueError("select chooses among several sources; there is one at most")
        return self


class Accuracy(Bootstrap):
    """The questions for testing, asked through the served models, with the answer's prefix alone."""

    max_tokens: int = Field(64, ge=1, description="of a written answer")
