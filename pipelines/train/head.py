"""A model in two halves: final hidden states, and the logits made of them, a few tokens at a time.

Knows transformers' causal models, and encoder-decoders, whose first half is in `encoder_decoder.py`. Does not know
losses. Logits are by far the largest thing in a training step; made in chunks whose backward pass makes them again,
they take a bounded amount of memory whatever the pack and vocabulary.
Shape letters: T tokens of a pack, N of them, n of those in one chunk, D width, V vocabulary.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pipelines.train import encoder_decoder
from pipelines.train.attention import lengths_for
from pipelines.train.batches import Batch

LOGITS_AT_ONCE = 2**25  # 128 MiB in fp32, some of which are alive at once


class Head:
    """From hidden states to logits, as the model's own forward does it: some families scale, cap or shift them.

    `body` is the part of the model whose `output` they come from; `told` is what else the forward has to be given.
    """

    def __init__(self, model: Any, body: Any, output: Any, **told: Any) -> None:
        self._model, self._body, self._output, self._told = model, body, output, told

    @property
    def vocabulary(self) -> int:
        return int(self._model.config.vocab_size)

    def __call__(self, hidden_nD: Tensor) -> Tensor:
        """Logits [n, V]."""
        given = copy.copy(self._output)
        given.last_hidden_state = hidden_nD[None]
        with _answering(self._body, given):
            logits: Tensor = self._model.forward(use_cache=False, **self._told).logits[0]
        return logits


def run_body(model: Any, batch: Batch, **more: Any) -> tuple[Tensor, Head]:
    """(final hidden states [T, D] of a pack, the head that goes with them). `more` goes to a causal model's layers."""
    if batch.encoder_lengths:
        assert not more, f"an encoder-decoder is given no {sorted(more)}"
        hidden_TD, encoded, decoded = encoder_decoder.run(model, batch)
        told = {"encoder_outputs": encoded, "decoder_input_ids": batch.ids_1T}
        return hidden_TD, Head(model, model.get_decoder(), decoded, **told)
    text = {} if "inputs_embeds" in more else {"input_ids": batch.ids_1T}
    output = model.base_model(
        position_ids=batch.position_ids_1T, use_cache=False, **text, **more, **lengths_for(model, batch.lengths)
    )
    return output.last_hidden_state[0], Head(model, model.base_model, output)


def chunks_for(tokens: int, vocabulary: int) -> int:
    """In how many chunks so many tokens' logits stay within the bound."""
    return max(1, -(-tokens * vocabulary // LOGITS_AT_ONCE))


def in_chunks(sums_of: Callable[[Tensor, slice], Tensor], hidden_ND: Tensor, chunks: int) -> Tensor:
    """Σ over chunks of `sums_of(hidden states [n, D], which of the N they are)`, a vector of any length.

    Where there are several, a chunk keeps its hidden states only and is computed again in the backward pass. Some may
    be empty.
    """
    if chunks == 1:
        return sums_of(hidden_ND, slice(0, len(hidden_ND)))
    sums, start = [], 0
    for hidden_nD in hidden_ND.tensor_split(chunks):
        rows = slice(start, start + len(hidden_nD))
        start = rows.stop
        sums.append(checkpoint(sums_of, hidden_nD, rows, use_reentrant=False, preserve_rng_state=False))
    return torch.stack(sums).sum(0)


@contextmanager
def _answering(body: Any, output: Any) -> Iterator[None]:
    """The body answers with this output, without computing anything."""
    body.forward = lambda *_, **__: output
    try:
        yield
    finally:
        del body.forward
