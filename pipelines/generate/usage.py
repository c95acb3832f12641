"""What asking cost: tokens, repeated tries, and how long the requests took.

Knows what each answer says of itself. Does not know prices; the report does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from pipelines.core.records import Completion, Influence, Likelihood, SoftTargets
from pipelines.generate.teacher import AnyRequest, Request

AnyAnswer = Completion | SoftTargets | Influence | Likelihood


@dataclass(frozen=True)
class Usage:
    """Sums over requests. These overlap, so their milliseconds may be more than the clock's."""

    prompt_tokens: int = 0
    output_tokens: int = 0
    retries: int = 0
    milliseconds: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @classmethod
    def of(cls, totals: Mapping[str, int]) -> "Usage":
        """What is said of it among the facts of a stage's parts."""
        return cls(*(totals.get(f.name, 0) for f in fields(cls)))

    def facts(self) -> dict[str, float]:
        """What a manifest has no field for."""
        return {"retries": self.retries, "request_seconds": round(self.milliseconds / 1000, 3)}


def usage(requests: Sequence[AnyRequest], said: Mapping[str, AnyAnswer]) -> Usage:
    """What the answered among these requests cost, whenever they were bought."""
    return sum((_of_one(r, said[r.id]) for r in requests if r.id in said), Usage())


def _of_one(request: AnyRequest, answer: AnyAnswer) -> Usage:
    if isinstance(answer, Completion):
        milliseconds = round(1000 * answer.seconds)
        return Usage(answer.prompt_tokens, answer.output_tokens, answer.retries, milliseconds)
    assert not isinstance(request, Request), "a measurement answers a request to write"
    return Usage(prompt_tokens=request.tokens)
