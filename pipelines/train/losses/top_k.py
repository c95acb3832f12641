"""Two distributions over a vocabulary, as seen by someone who was told the reference's top k only.

Knows the outcomes that are left: k candidates and one for all other tokens together. Any divergence over these is one
between two distributions: 0 only where they agree, never negative, not above the divergence over the vocabulary, and
equal to it at k = V. Without the last outcome a student could lower its loss by moving mass out of the candidates.

There is no temperature here: how the rest would spread at another one is not known, and tempering it as one outcome
blows up its rounding (1e-6 becomes 1 % at temperature 3). Stored as float16, a rest below about 1e-4 is rounding, which
the reverse KL feels most: 2 % of its value at worst in our tests, where the others stay below 0.01 nats.
"""

import torch
from torch import Tensor

from pipelines.train.losses.divergences import log_softmax

ABSENT = -50.0  # a candidate at or below this log-probability is padding, and no outcome
_NOTHING = -1e4  # the log-probability of what is no outcome
_LEAST_REST = 1e-6  # fp32 cannot tell 1 - Σ from less


def outcomes(student_NV: Tensor, ids_NK: Tensor, reference_NK: Tensor) -> tuple[Tensor, Tensor]:
    """(student, reference) log-probabilities [N, K + 1]: the candidates, and last the rest of the vocabulary.

    A candidate outside the student's vocabulary (an id that pads the teacher's) belongs to the rest.
    """
    V = student_NV.shape[1]
    absent_NK = (reference_NK <= ABSENT) | (ids_NK >= V)
    return (
        _with_rest(student_NV.gather(1, ids_NK.clamp_max(V - 1)).masked_fill(absent_NK, _NOTHING)),
        _with_rest(reference_NK.masked_fill(absent_NK, _NOTHING)),
    )


def rest(logprobs_NK: Tensor) -> Tensor:
    """The mass [N] outside the candidates; rounding may add candidates up to a little more than 1."""
    return (1 - logprobs_NK.exp().sum(1)).clamp_min(0.0)


def _with_rest(logprobs_NK: Tensor) -> Tensor:
    rest_N1 = rest(logprobs_NK).clamp_min(_LEAST_REST)[:, None]
    return log_softmax(torch.cat([logprobs_NK, rest_N1.log()], dim=1))  # adds up to 1, whatever the rounding
