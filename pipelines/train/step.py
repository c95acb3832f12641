"""How one batch's losses are weighed, summed and counted: plain functions, with neither Ray nor DeepSpeed.

A step minimises Σ_c coef_c · (1/N_c) · Σ weight·loss, where N_c counts over all ranks and accumulation steps and never
contains a weight. `terms` says which losses a batch has, `learner.py` gives their sums, `counts` the N_c, and
`objective` joins them. Shape letters: N weighted tokens, n of those in one chunk, C components, V vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipelines.core.config import RATIONALE, Train
from pipelines.core.records import TrainExample
from pipelines.train.batches import Batch
from pipelines.train.examples import CHOSEN
from pipelines.train.head import run_body
from pipelines.train.losses.divergences import Divergence, cross_entropy, divergence, log_softmax
from pipelines.train.references import Beside, Reference

ANSWER, KD, ATTENTION, BASE_KL, DPO = "answer", "kd", "attention", "base_kl", "dpo"


@dataclass(frozen=True)
class Term:
    """One loss per token, and how much each token weighs in each of the components that it counts for."""

    components: tuple[str, ...]
    weights_CN: Tensor
    loss: Callable[[Tensor, slice], Tensor]  # (the student's log-probabilities [n, V], which of the N) to [n]
    unshifted: bool = False  # read one token too late


def logprobs_of(model: Any, batch: Batch) -> Tensor:
    """Log-probabilities [N, V] at the weighted tokens, all at once: for a few."""
    hidden_TD, head = run_body(model, batch)
    return log_softmax(head(hidden_TD[batch.positions_N - 1]))


def terms(batch: Batch, beside: Beside, config: Train) -> list[Term]:
    """Every loss of this batch that is one of distributions."""
    weights_N = token_weights(batch, config)
    names = tuple(sorted(set(batch.component)))
    is_of_CN = torch.tensor([[c == name for c in batch.component] for name in names]).to(batch.example_N.device)
    found = [
        Term(
            names,
            weights_N * is_of_CN[:, batch.example_N],
            lambda student_nV, rows: cross_entropy(student_nV, batch.targets_N[rows]),
        )
    ]
    if config.has("kd") and beside.teacher is not None:
        taught_N = weights_N * batch.has_signal_N if config.needs_signals else weights_N
        how = divergence(config.kd.divergence, config.kd.beta, config.kd.temperature)
        found.append(Term((KD,), taught_N[None], _compared(beside.teacher, how), config.unshifted))
    if config.has("base_kl") and beside.base is not None:
        found.append(Term((BASE_KL,), weights_N[None], _compared(beside.base, divergence("reverse"))))
    return found


def of_examples(batch: Batch) -> Term:
    """The negative log-likelihood of each example, as a component of its own: what a loss of whole answers needs."""
    names = tuple(f"{n}" for n in range(len(batch.ids)))
    owner_BN = (torch.arange(len(names), device=batch.example_N.device)[:, None] == batch.example_N).float()
    return Term(names, owner_BN, lambda student_nV, rows: cross_entropy(student_nV, batch.targets_N[rows]))


def weighed(found: Sequence[Term], student_nV: Tensor, rows: slice) -> Tensor:
    """Σ weight·loss over these rows, of each term's components in order."""
    return torch.cat([term.weights_CN[:, rows] @ term.loss(student_nV, rows) for term in found])


def token_weights(batch: Batch, config: Train) -> Tensor:
    """Weights [N]. Under `per_example` each is divided by its example's number of weighted tokens, so that dividing by
    the number of examples afterwards gives the mean of the examples' means.
    """
    if config.normalise == "global_token":
        return batch.weights_N
    sizes = torch.bincount(batch.example_N, minlength=len(batch.component))
    return batch.weights_N / sizes[batch.example_N]


def counts(examples: Sequence[TrainExample], signals: Mapping[str, Any], config: Train) -> dict[str, int]:
    """This rank's share of N_c for one step: weighted tokens, or examples. Never a weight."""
    total: dict[str, int] = {}
    everywhere = [name for name, on in ((ATTENTION, config.has("attention")), (BASE_KL, config.has("base_kl"))) if on]
    for example in examples:
        size = 1 if config.normalise == "per_example" else sum(w > 0 for w in example.weights[1:])
        taught = config.has("kd") and (not config.needs_signals or example.id in signals)
        for name in (example.component, *everywhere, *([KD] if taught else [])):
            total[name] = total.get(name, 0) + size
        if example.component == CHOSEN:  # a preference counts once, whatever its length
            total[DPO] = total.get(DPO, 0) + 1
    return total


def divisors(total: Mapping[str, float]) -> dict[str, float]:
    """N_c out of what was counted. Rationales are divided by the answers, of which each question has one.

    So a rationale that is missing is a zero, and no other weighs more for it (arXiv 2402.04616: all losses are means
    over the questions).
    """
    return {name: total[ANSWER] if name.startswith(RATIONALE) else count for name, count in total.items()}


def objective(sums: Mapping[str, Tensor], total: Mapping[str, float], coefficients: Mapping[str, float]) -> Tensor:
    """Σ_c coef_c · sum_c / N_c, N_c counted over the whole step. A component that nobody counted has sum 0."""
    parts = [coefficients.get(name, 0.0) * value / max(1.0, total.get(name, 0)) for name, value in sums.items()]
    return torch.stack(parts).sum()


def _compared(reference: Reference, how: Divergence) -> Callable[[Tensor, slice], Tensor]:
    return lambda student_nV, rows: how(*reference.beside(student_nV, rows))
