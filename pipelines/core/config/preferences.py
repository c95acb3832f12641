"""Preferences that a teacher is tuned on."""

from pydantic import Field

from pipelines.core.config.base import Strict


class Preferences(Strict):
    """Which pairs of completions are learnt from."""

    margin: float = Field(0.0, ge=0, description="least difference of influence within a pair, in nats")
    most_per_prompt: int | None = Field(None, ge=1, description="pairs of one prompt, the furthest apart first")
