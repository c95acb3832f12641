"""One batch's loss: a plain function of a model and tensors, with neither Ray nor DeepSpeed.

Knows how components are summed and counted. A step minimises Σ_c coef_c · (1/N_c) · Σ weight·loss, where N_c
counts over all ranks and accumulation steps and never contains a weight; this file gives the sums and counts,
and `objective` joins them once N_c is known.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from pipelines.core.records import TrainExample
from pipelines.train.attention import lengths_for
from pipelines.train.batches import Batch
from pipelines.train.losses import cross_entropy, log_softmax, top_k_kl

Normalise = Literal["global_token", "per_example"]
KD = "kd"


def logprobs_of(model: Any, batch: Batch) -> Tensor:
    """Log-probabilities [N, V] at the weighted tokens only: the LM head sees no other position."""
    output = model(
        input_ids=batch.ids_1T,
        position_ids=batch.position_ids_1T,
        use_cache=False,
        logits_to_keep=batch.positions_N - 1,
        **lengths_for(model, batch.lengths),
    )
    return log_softmax(output.logits[0])


def loss_sums(logprobs_NV: Tensor, batch: Batch, normalise: Normalise, kd: bool) -> dict[str, Tensor]:
    """Σ weight·loss of each component over this batch, on the graph.

    Under `per_example` each token's weight is divided by its example's weighted-token count, so that dividing by
    the number of examples afterwards gives the mean of the examples' means.
    """
    share_N = _example_share(batch) if normalise == "per_example" else torch.ones_like(batch.weights_N)
    sums: dict[str, Tensor] = {}
    for name in sorted(set(batch.component)):
        is_of = torch.tensor([c == name for c in batch.component], device=batch.example_N.device)[batch.example_N]
        weights_N = batch.weights_N * is_of * share_N
        sums[name] = cross_entropy(logprobs_NV, batch.targets_N, weights_N)
    if kd and batch.signal_ids_NK is not None and batch.signal_logprobs_NK is not None:
        weights_N = batch.weights_N * batch.has_signal_N * share_N
        sums[KD] = top_k_kl(logprobs_NV, batch.signal_ids_NK, batch.signal_logprobs_NK, weights_N)
    return sums


def counts(
    examples: Sequence[TrainExample], signals: Mapping[str, Any], normalise: Normalise, kd: bool
) -> dict[str, int]:
    """This rank's share of N_c for one step: weighted tokens, or examples. Never a weight."""
    total: dict[str, int] = {}
    for example in examples:
        tokens = sum(w > 0 for w in example.weights[1:])
        size = 1 if normalise == "per_example" else tokens
        total[example.component] = total.get(example.component, 0) + size
        if kd and example.id in signals:
            total[KD] = total.get(KD, 0) + size
    return total


def objective(sums: Mapping[str, Tensor], total: Mapping[str, float], coefficients: Mapping[str, float]) -> Tensor:
    """Σ_c coef_c · sum_c / N_c, N_c counted over the whole step. A component that nobody counted has sum 0."""
    parts = [coefficients.get(name, 0.0) * value / max(1.0, total.get(name, 0)) for name, value in sums.items()]
    return torch.stack(parts).sum()


def _example_share(batch: Batch) -> Tensor:
    sizes = torch.bincount(batch.example_N, minlength=len(batch.component))
    return 1.0 / sizes[batch.example_N].float()
