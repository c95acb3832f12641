"""Losses over weighted tokens, as (sum, count) per component.

Knows logits and targets that are aligned already: row n of the logits predicts target n. Does not know models,
batches or ranks. Shape letters: N weighted tokens, V vocabulary, K candidates. All sums are in fp32 nats.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logprobs_NV: Tensor, targets_N: Tensor, weights_N: Tensor) -> Tensor:
    """Weighted sum of -log p(target)."""
    nll_N = -logprobs_NV.gather(1, targets_N[:, None]).squeeze(1)
    return (nll_N * weights_N).sum()


def top_k_kl(logprobs_NV: Tensor, ids_NK: Tensor, teacher_NK: Tensor, weights_N: Tensor) -> Tensor:
    """Weighted sum of forward KL(teacher ‖ student) over the teacher's top k and one bucket for the rest.

    The tail's bucket keeps the sum a KL between two distributions: it is 0 only where they agree, never
    negative, and at K = V it is the full-vocabulary KL. `teacher_NK` holds log-probabilities.
    """
    student_NK = logprobs_NV.gather(1, ids_NK)
    teacher_p_NK = teacher_NK.exp()
    kl_N = (teacher_p_NK * (teacher_NK - student_NK)).sum(1)
    tail_teacher_N = tail_mass(teacher_p_NK)
    tail_student_N = tail_mass(student_NK.exp())
    tail_N = tail_teacher_N * (tail_teacher_N.clamp_min(_TINY).log() - tail_student_N.clamp_min(_TINY).log())
    return ((kl_N + tail_N) * weights_N).sum()


def tail_mass(probabilities_NK: Tensor) -> Tensor:
    """What is left of 1 outside the candidates; below float16's rounding it counts as none."""
    rest_N = 1.0 - probabilities_NK.sum(1)
    return torch.where(rest_N > _ROUNDING, rest_N, torch.zeros_like(rest_N))


def log_softmax(logits_NV: Tensor) -> Tensor:
    """fp32 log-probabilities, whatever the logits' format."""
    return F.log_softmax(logits_NV.float(), dim=-1)


_TINY = 1e-9
_ROUNDING = 1e-3  # the relative error of float16 log-probabilities near 0, summed
