"""How far a student's attention is from its teacher's, head by head.

Knows queries and keys of both models' layers and where a pack's examples lie. Maps are made a few rows at a time and
made again in the backward pass; no map of a whole pack exists. Shape letters: T tokens of a pack, N weighted tokens,
n of those, L tokens of one example, H heads, G key heads, D width of one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pipelines.train.attention import Looked
from pipelines.train.batches import Batch
from pipelines.train.losses.divergences import kl, log_softmax

SCORES_AT_ONCE = 2**24
_UNSEEN = -1e4  # instead of -inf: no weight is left, and its logarithm stays finite


def attention_kl(
    student: Sequence[Looked], teacher: Sequence[Looked], batch: Batch, at_N: Tensor, weights_N: Tensor
) -> Tensor:
    """Σ_n weight_n · (1/ΛH) Σ_lh KL(teacher's attention ‖ student's), of the queries `at_N`: one number.

    L_attn of arXiv 2406.19112, as its code has it but for the shift: layer l with layer l and head h with head h of Λ
    layers and H heads, keys no later than the query, no temperature. ValueError where layers or heads differ in number.
    """
    _check(student, teacher)
    total = weights_N.new_zeros(())
    start = 0
    for number, length in enumerate(batch.lengths):
        own_n = (batch.example_N == number).nonzero()[:, 0]
        for few_n in own_n.split(max(1, SCORES_AT_ONCE // (length * student[0].query_1HTD.shape[1]))):
            for mine, theirs in zip(student, teacher, strict=True):
                args = (mine, theirs, at_N[few_n] - start, slice(start, start + length))
                kl_n = checkpoint(_mean_over_heads, *args, use_reentrant=False, preserve_rng_state=False)
                total = total + kl_n @ weights_N[few_n]
        start += length
    return total / len(student)


def _mean_over_heads(mine: Looked, theirs: Looked, at_n: Tensor, example: slice) -> Tensor:
    """KL [n] of one layer, for queries at these places of one example."""
    return kl(_log_attention(theirs, at_n, example), _log_attention(mine, at_n, example)).mean(0)


def _log_attention(looked: Looked, at_n: Tensor, example: slice) -> Tensor:
    """log A [H, n, L], fp32: never the logarithm of a weight that rounding made 0."""
    query_HnD = looked.query_1HTD[0, :, example][:, at_n]
    key_GLD = looked.key_1GTD[0, :, example]
    key_HLD = key_GLD.repeat_interleave(len(query_HnD) // len(key_GLD), dim=0)
    scores_HnL = (query_HnD @ key_HLD.transpose(1, 2)).float() * looked.scaling
    later_nL = torch.arange(key_HLD.shape[1], device=at_n.device) > at_n[:, None]
    return log_softmax(scores_HnL.masked_fill(later_nL, _UNSEEN))


def _check(student: Sequence[Looked], teacher: Sequence[Looked]) -> None:
    if not student or not teacher:
        raise ValueError(
            "a model whose layers see less or more than the whole past keeps its own attention, which cannot be "
            "compared; drop 'attention' from student.train.losses"
        )
    shapes = [(len(looked), looked[0].query_1HTD.shape[1]) for looked in (student, teacher)]
    if shapes[0] != shapes[1]:
        mine, theirs = (f"{layers} layers of {heads} heads" for layers, heads in shapes)
        raise ValueError(
            f"the student has {mine} and its teacher {theirs}: their attention cannot be compared head by head; drop "
            "'attention' from student.train.losses"
        )
