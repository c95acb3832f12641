"""Direct preference optimisation (arXiv 2305.18290, equation 7): which of two answers a model is to like better.

Knows the negative log-likelihoods of whole answers, the model's and the reference's. Does not know models or tokens.
Shape letters: B examples of a pack, P preferences among them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.train.batches import Batch
from pipelines.train.examples import CHOSEN, REJECTED


def dpo(nll_B: Tensor, reference_B: Tensor, batch: Batch, beta: float) -> Tensor:
    """Σ over the pack's preferences of -log σ(β · margin), in nats; 0, on the graph, where there is none."""
    return -F.logsigmoid(beta * margins(nll_B, reference_B, batch)).sum()


def margins(nll_B: Tensor, reference_B: Tensor, batch: Batch) -> Tensor:
    """How much more than the reference does the model prefers the chosen answer, in nats [P].

    log π(x⁺)/π_ref(x⁺) - log π(x⁻)/π_ref(x⁻), of whole answers.
    """
    gained_B = reference_B - nll_B
    chosen_P, rejected_P = _pairs(batch)
    return gained_B[chosen_P] - gained_B[rejected_P]


def _pairs(batch: Batch) -> tuple[Tensor, Tensor]:
    """(indices of the chosen, of the rejected), preference by preference."""
    where = {(g, c): n for n, (g, c) in enumerate(zip(batch.group, batch.component, strict=True))}
    whole = [g for g in dict.fromkeys(batch.group) if (g, CHOSEN) in where and (g, REJECTED) in where]
    indices = [[where[group, component] for group in whole] for component in (CHOSEN, REJECTED)]
    chosen_P, rejected_P = torch.tensor(indices, dtype=torch.long, device=batch.ids_1T.device)
    return chosen_P, rejected_P
