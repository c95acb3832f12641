"""How surprised a model is by examples, in nats, on the graph; and the gradient of that.

Knows models and packs; the same forward as in training. Does not know what is measured for which purpose.
Shape letters: E examples of a pack, T its tokens, N the weighted ones, n of those in one chunk, D width.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from pipelines.influence.sharded import mine
from pipelines.train.batches import Batch
from pipelines.train.head import chunks_for, in_chunks, run_body
from pipelines.train.losses.divergences import cross_entropy, log_softmax


def nats(model: Any, batch: Batch, weights_N: Tensor) -> Tensor:
    """Σ weight · -log p(token) of each example [E].

    Summed in fp64, so that what a loss can resolve is what one token's can: influences are its last digits.
    """
    hidden_TD, head = run_body(model, batch)

    def of_chunk(hidden_nD: Tensor, rows: slice) -> Tensor:
        nll_n = cross_entropy(log_softmax(head(hidden_nD)), batch.targets_N[rows])
        sums_E = torch.zeros(len(batch.ids), dtype=torch.float64, device=nll_n.device)
        return sums_E.index_add(0, batch.example_N[rows], (weights_N[rows] * nll_n).double())

    chunks = chunks_for(len(batch.positions_N), head.vocabulary)
    return in_chunks(of_chunk, hidden_TD[batch.positions_N - 1], chunks)


def gradient(losses: Iterable[Tensor], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the losses' sum, by the parameters' names; zero where none depends on one. One loss's graph lives at a time.

    Nothing is left in the parameters' `grad`, which is where a sharded model's gradients come together.
    """
    for loss in losses:
        loss.backward()
    found = {}
    for name, parameter in parameters.items():
        found[name] = torch.zeros_like(mine(parameter)) if parameter.grad is None else mine(parameter.grad)
        parameter.grad = None
    return found
