"""How likely given tokens are after a context, as a benchmark asks it: log-probabilities and no distributions.

Knows requests only. Who answers them is in `serving.client`.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipelines.core.hashing import key_of
from pipelines.core.records import Likelihood
from pipelines.generate.teacher import TeacherId


class Tells(Protocol):
    """Whoever tells likelihoods. Any number of calls may be under way at once."""

    async def likelihood(self, request: "LikelihoodRequest") -> Likelihood:
        """Raises RequestFailed for what concerns this request only."""
        ...


@dataclass(frozen=True, slots=True)
class LikelihoodRequest:
    """Log-probabilities of `token_ids[start:]` after those before. `id` is the Likelihood's (see teacher.Measured)."""

    id: str
    token_ids: tuple[int, ...]
    start: int  # never 0: the first token has no distribution

    @property
    def tokens(self) -> int:
        return len(self.token_ids)

    def put_to(self, model: Tells) -> Awaitable[Likelihood]:
        return model.likelihood(self)


def likelihood_request(teacher: TeacherId, context: Sequence[int], continuation: Sequence[int]) -> LikelihoodRequest:
    """A request keyed by the very token ids."""
    assert context, "the first token has no distribution"
    ids = (*context, *continuation)
    return LikelihoodRequest(key_of("likelihood", teacher.digest, list(ids), len(context)), ids, len(context))
