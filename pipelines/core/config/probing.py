"""How the influence of single rows on a student is measured (arXiv 2410.14208)."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.core.config.base import Strict
from pipelines.core.config.data import Source
from pipelines.core.config.teachers import Pool
from pipelines.core.records import InfluenceMethod

Normalise = Literal["global_token", "per_example"]


SEED_ANSWERS = "seeds"  # in place of a path


class SelfCheck(Strict):
    """With an estimate some of the rows are measured exactly, too, and the two are compared."""

    rows: int = Field(64, ge=8, le=10_000, description="drawn by the seed; all where there are fewer")
    spearman: float = Field(0.9, gt=0, le=1, description="the least rank correlation that raises no doubt")


class Probing(Strict):
    """One optimizer step on each row from the student's last state, and what it does to the loss on a reference set."""

    method: InfluenceMethod = Field(
        "first_order",
        description="the loss measured after each row's step (exact); told by its slope, without such a pass "
        "(first_order); or by the slope at one weight in sixteen (sampled)",
    )
    normalise: Normalise = Field(
        "global_token", description="the reference loss: mean over all tokens, or mean of the examples' means"
    )
    every_layer: int = Field(
        1,
        ge=1,
        description="for a student whose moments do not fit: 4 steps the weights of every fourth layer, and no others; "
        "1 steps all that was trained",
    )
    shards: int = Field(
        1,
        ge=1,
        le=64,
        description="processes, on a GPU each, that are one probe together: for a student that does not fit on one",
    )
    check_every: int = Field(
        16,
        ge=1,
        description="exact rows at most; then the restored student must give the loss that it gave at first, or none "
        "of them is told",
    )
    self_check: SelfCheck = SelfCheck()
    pool: Pool = Field(Pool(), description="of the probes that take rows")

    @model_validator(mode="after")
    def _method_can(self) -> Self:
        self.check(self.method)
        return self

    def check(self, method: InfluenceMethod) -> None:
        """ValueError where a row cannot be measured by this method."""
        if method == "sampled" and self.shards > 1:
            raise ValueError("'sampled' reads rows of whole matrices, which no process of several has: use first_order")


class Probe(Probing):
    """What a student is to be good at, for `tutelage probe` to measure single rows by."""

    reference: Source = Field(description="also with `path: seeds`: the seed tasks' own answers, but for the held-out")
    evaluated_too: bool = Field(
        False,
        description="to reproduce arXiv 2410.14208's released code: prompts that are evaluated on may be among them",
    )
