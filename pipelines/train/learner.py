"""A student as the engine trains it: a batch goes in, the sum of each loss component comes out.

Knows a causal model and the terms of `step.py`. It is one module, so that DeepSpeed sees all that is computed with the
student's weights; the models that it is compared with stay outside. Does not know coefficients' scale, ranks or steps.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pipelines.core.config import Train
from pipelines.train.batches import Batch
from pipelines.train.head import Head, chunks_for, in_chunks, run_body
from pipelines.train.losses import preferences
from pipelines.train.losses.attention_maps import attention_kl
from pipelines.train.losses.divergences import log_softmax
from pipelines.train.references import Beside, distilled_at
from pipelines.train.step import ATTENTION, DPO, Term, of_examples, terms, token_weights, weighed

NOTHING = Beside()


class Learner(nn.Module):
    """The student with its losses."""

    def __init__(self, student: Any, config: Train) -> None:
        super().__init__()
        self.student = student
        self.components = tuple(sorted(str(name) for name in config.losses))
        self._config = config

    def chunks(self, batch: Batch) -> int:
        """In how many chunks this batch's logits are made. Under ZeRO 3 it must be the same on all ranks."""
        return chunks_for(len(batch.positions_N), self.student.config.vocab_size)

    def forward(
        self, batch: Batch, beside: Beside = NOTHING, noise_1TD: Tensor | None = None, chunks: int | None = None
    ) -> Tensor:
        """The sums of `components` [C], 0 where this batch has none.

        One tensor, whichever losses a batch has: ZeRO 3 gathers weights once more for every output of a module, and
        all ranks must gather the same.
        """
        sums = self.sums(batch, beside, noise_1TD, chunks)
        return torch.stack([sums.get(name, batch.weights_N.new_zeros(())) for name in self.components])

    def sums(
        self, batch: Batch, beside: Beside = NOTHING, noise_1TD: Tensor | None = None, chunks: int | None = None
    ) -> dict[str, Tensor]:
        """Σ weight·loss of each component over this batch, on the graph. `noise_1TD` is added to the embeddings."""
        more: dict[str, Any] = {}
        if noise_1TD is not None:
            embedded_1TD = self.student.get_input_embeddings()(batch.ids_1T)
            more["inputs_embeds"] = embedded_1TD + noise_1TD.to(embedded_1TD)
        if beside.looked is not None:
            more["looked"] = []
        hidden_TD, head = run_body(self.student, batch, **more)
        sums: dict[str, Tensor] = {}
        all_terms = terms(batch, beside, self._config)
        for unshifted, at_N in ((False, batch.positions_N - 1), (True, batch.positions_N)):
            read_here = [term for term in all_terms if term.unshifted == unshifted]
            if read_here:
                sums |= _sums(read_here, hidden_TD[at_N], head, chunks or self.chunks(batch))
        if beside.reference_B is not None:
            each = _sums([of_examples(batch)], hidden_TD[batch.positions_N - 1], head, chunks or self.chunks(batch))
            nll_B = torch.stack([each[str(n)] for n in range(len(batch.ids))])
            sums[DPO] = preferences.dpo(nll_B, beside.reference_B, batch, self._config.dpo_beta)
        if beside.looked is not None:
            weights_N = token_weights(batch, self._config)
            at_N = distilled_at(batch, self._config)
            sums[ATTENTION] = attention_kl(more["looked"], beside.looked, batch, at_N, weights_N)
        return sums


def _sums(read: list[Term], hidden_ND: Tensor, head: Head, chunks: int) -> dict[str, Tensor]:
    """Each component's sum, of terms that read the same hidden states."""

    def of_chunk(hidden_nD: Tensor, rows: slice) -> Tensor:
        return weighed(read, log_softmax(head(hidden_nD)), rows)

    names = [name for term in read for name in term.components]
    return dict(zip(names, in_chunks(of_chunk, hidden_ND, chunks), strict=True))
