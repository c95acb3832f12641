"""What a student should be good at: examples whose loss says whether a step helped.

Knows packs and how a loss is divided. Does not know steps or rows. A causal student's packs have no padding. Weights
say only which tokens count: L_ref = Σ_e share_e · nats_e over the examples e, with share_e = 1/N of N tokens in all, or
1/(E·N_e) of E examples, for the mean of their means. (The released code of arXiv 2410.14208 has a mean over batches of
8 of their token means, which depends on how the set is cut.)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pipelines.core.config import Normalise
from pipelines.core.errors import UserError
from pipelines.core.records import TrainExample
from pipelines.influence.nats import gradient, nats
from pipelines.train.batches import Batch, collate, packs
from pipelines.train.measure import TOKENS_PER_PACK


class Reference:
    """The reference set, packed once."""

    def __init__(self, examples: Sequence[TrainExample], normalise: Normalise) -> None:
        if not examples:
            raise UserError("the reference set is empty; give examples of what the student should be good at")
        mute = [example.id for example in examples if not any(w > 0 for w in example.weights[1:])]
        if mute:
            raise UserError(
                f"{len(mute)} reference examples, {mute[0]} first, have no answer that counts; leave them out"
            )
        self.longest = max(len(tokens) for e in examples for tokens in (e.token_ids, e.encoder_ids))
        self._rows = packs(examples, TOKENS_PER_PACK)
        self._packs = [collate(row, {}) for row in self._rows]
        self._normalise = normalise
        self._tokens, self._examples = sum(len(p.positions_N) for p in self._packs), len(examples)

    def loss(self, model: Any) -> float:
        """L_ref, in nats."""
        return float(self._parts(model, self._packs).sum())

    def gradient(self, model: Any, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """∇L_ref by the parameters' names."""
        return gradient((part_E.sum() for part_E in self._on_graph(model, self._packs)), parameters)

    def noise(self, model: Any) -> float:
        """By how much rounding alone may move a difference of two losses: each example in its pack, and on its own.

        The two ways differ in the shapes of all products, so in what is rounded, and in nothing else. Examples' errors
        are independent, so that their squares add up; none is below what fp32 resolves.
        """
        alone = (collate([example], {}) for row in self._rows for example in row)
        packed_E, alone_E = self._parts(model, self._packs), self._parts(model, alone)
        resolved_E = torch.finfo(torch.float32).eps * packed_E
        return float(torch.maximum((packed_E - alone_E).abs(), resolved_E).norm())

    def _parts(self, model: Any, batches: Iterable[Batch]) -> Tensor:
        """What every example adds to L_ref [all E]."""
        with torch.no_grad():
            return torch.cat(list(self._on_graph(model, batches)))

    def _on_graph(self, model: Any, batches: Iterable[Batch]) -> Iterator[Tensor]:
        """The same pack by pack [E]."""
        for batch in batches:
            here = batch.to(model.device)
            counts_E = torch.bincount(here.example_N, minlength=len(here.ids))
            divisors_E = self._examples * counts_E if self._normalise == "per_example" else self._tokens
            yield nats(model, here, torch.ones_like(here.weights_N)) / divisors_E
