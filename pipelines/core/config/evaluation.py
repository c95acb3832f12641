"""What is measured of teacher and student."""

from typing import Literal

from pydantic import Field

from pipelines.core.config.base import Sampling, Strict


class Bootstrap(Strict):
    """How intervals are made: over held-out rows, by resampling them."""

    confidence: float = Field(0.95, gt=0.5, lt=1)
    resamples: int = Field(2_000, ge=100)


class Evaluate(Bootstrap):
    """Held-out prompts, through the endpoints. References are the teacher's own answers to them."""

    teacher: str
    sampling: Sampling = Sampling()
    before: Literal["served", "measured"] = Field(
        "served", description="the untrained student: asked like the others, or its likelihood alone, without an engine"
    )
    samples: int = Field(1, ge=1, le=64, description="answers of each model to each prompt; figures are their means")
