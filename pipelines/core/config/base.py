"""What every section is built from.

Knows strictness, how a section without a `kind` is read, and how tokens are drawn.
"""

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Strict(BaseModel):
    """No unknown keys, no infinities (they have no hash), no changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def by_default(kind: str) -> BeforeValidator:
    """A section that names no `kind` is of this one."""

    def named(section: Any) -> Any:
        return {"kind": kind, **section} if isinstance(section, dict) else section

    return BeforeValidator(named)


class Sampling(Strict):
    """How tokens are drawn. `min_p` is the cheap tail cut; `top_p` sorts the vocabulary at every step."""

    temperature: float = Field(0.7, ge=0, le=5)
    top_p: float = Field(1.0, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, le=1)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    max_tokens: int = Field(128, ge=1, le=131_072)
    stop: tuple[str, ...] = ()
