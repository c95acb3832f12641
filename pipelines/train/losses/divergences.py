"""Cross-entropy, and how far a student's distributions are from a reference's.

Knows log-probabilities whose rows are aligned already: row n of both predicts the same token. Does not know where they
come from, nor whether an outcome is a token or stands for many (`top_k.py`). Shape letters: N tokens, V vocabulary,
O outcomes. Every function gives one value per token [N], in nats.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["forward", "reverse", "jsd"]
Divergence = Callable[[Tensor, Tensor], Tensor]  # (student [N, O], reference [N, O]) to [N]


def log_softmax(logits_NV: Tensor) -> Tensor:
    """fp32 log-probabilities, whatever the logits' format."""
    return F.log_softmax(logits_NV.float(), dim=-1)


def cross_entropy(logprobs_NV: Tensor, targets_N: Tensor) -> Tensor:
    """-log p(target), of targets [N]."""
    return -logprobs_NV.gather(1, targets_N[:, None]).squeeze(1)


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p ‖ q) over the last dimension."""
    return (p.exp() * (p - q)).sum(-1)


def forward_kl(student_NO: Tensor, reference_NO: Tensor) -> Tensor:
    """KL(reference ‖ student): the student is to cover all that the reference does."""
    return kl(reference_NO, student_NO)


def reverse_kl(student_NO: Tensor, reference_NO: Tensor) -> Tensor:
    """KL(student ‖ reference): the student is to do nothing that the reference does not."""
    return kl(student_NO, reference_NO)


def generalised_jsd(student_NO: Tensor, reference_NO: Tensor, beta: float) -> Tensor:
    """β·KL(P ‖ M) + (1-β)·KL(Q ‖ M) with M = β·P + (1-β)·Q, reference P and student Q, 0 < β < 1.

    Equation 1 of GKD (arXiv 2306.13649). Near its ends it vanishes: it is β·KL(P ‖ Q) for small β and (1-β)·KL(Q ‖ P)
    for β near 1, so the ends themselves are no losses; they are named `forward` and `reverse` here.
    """
    mixture_NO = torch.logaddexp(reference_NO + math.log(beta), student_NO + math.log1p(-beta))
    return beta * kl(reference_NO, mixture_NO) + (1 - beta) * kl(student_NO, mixture_NO)


def divergence(kind: Kind, beta: float | None = None, temperature: float = 1.0) -> Divergence:
    """τ² · D(student at τ, reference at τ).

    τ² keeps gradients of one size at all temperatures (Hinton et al., arXiv 1503.02531, section 2). `beta` goes with
    `jsd` and with nothing else.
    """
    assert (kind == "jsd") == (beta is not None), f"{kind} with beta {beta}"
    plain: dict[Kind, Divergence] = {"forward": forward_kl, "reverse": reverse_kl}
    chosen = plain[kind] if beta is None else partial(generalised_jsd, beta=beta)
    if temperature == 1.0:
        return chosen
    return lambda student_NO, reference_NO: (
        temperature**2
        * chosen(F.log_softmax(student_NO / temperature, dim=-1), F.log_softmax(reference_NO / temperature, dim=-1))
    )
