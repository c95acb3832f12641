"""Losses over weighted tokens, as (sum, count) per component.

Knows logits and targets that are aligned already: row n of the logits predicts target n. Does not know models,
batches or ranks. Shape letters: N weighted tokens, V vocabulary, K candidates. All sums are in fp32 nats.
"""

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logprobs_NV: Tensor, targets_N: Tensor, weights_N: Tensor) -> Tensor:
    """Weighted sum of -log p(target)."""
    nll_N = -logprobs_NV.gather(1, targets_N[:, None]).squeeze(1)
    return (nll_N * weights_N).sum()


def top_k_kl(logprobs_NV: Tensor, ids_NK: Tensor, teacher_NK: Tensor, weights_N: Tensor) -> Tensor:
    """Weighted sum of forward KL(teacher ‖ student) over the teacher's top k and one bucket for the rest.

    The tail's bucket keeps the sum a KL between two distributions: it is 0 only where they agree, never negative,
    and at K = V it is the full-vocabulary KL. `teacher_NK` holds log-probabilities; those at or below `ABSENT` are
    padding and count nowhere.
    """
    # Stored as float16, the candidates may add up to a little more than 1.
    teacher_NK = teacher_NK - teacher_NK.logsumexp(1, keepdim=True).clamp_min(0.0)
    student_NK = logprobs_NV.gather(1, ids_NK)
    kl_N = (teacher_NK.exp() * (teacher_NK - student_NK)).sum(1)
    tail_teacher_N = (1 - teacher_NK.exp().sum(1)).clamp_min(0.0)
    tail_student_N = (1 - (student_NK.exp() * (teacher_NK > ABSENT)).sum(1)).clamp_min(_TINY)
    tail_N = tail_teacher_N * (tail_teacher_N.clamp_min(_TINY).log() - tail_student_N.log())
    return ((kl_N + tail_N) * weights_N).sum()


def log_softmax(logits_NV: Tensor) -> Tensor:
    """fp32 log-probabilities, whatever the logits' format."""
    return F.log_softmax(logits_NV.float(), dim=-1)


ABSENT = -50.0
_TINY = 1e-6
