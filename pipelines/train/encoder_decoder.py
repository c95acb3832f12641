"""A pack through an encoder-decoder: its examples side by side as padded rows, and flat again behind the decoder.

Knows transformers' models with an encoder and a decoder (T5's and BART's families). Does not know heads or losses.
Shape letters: B examples of a pack, R tokens of the longest that is read, W of the longest that is written, T tokens
that are written in all, D width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pipelines.train.batches import Batch


def run(model: Any, batch: Batch) -> tuple[Tensor, Any, Any]:
    """(final hidden states [T, D] of what is written, the encoder's output, the decoder's)."""
    read_BR, is_read_BR = _rows(batch.encoder_ids_S, batch.encoder_lengths)
    written_BW, is_written_BW = _rows(batch.ids_1T[0], batch.lengths)
    encoded = model.get_encoder()(input_ids=read_BR, attention_mask=is_read_BR)
    # No mask of the decoder's own: padding comes last, where nothing that counts sees it.
    decoded = model.get_decoder()(
        input_ids=written_BW, encoder_hidden_states=encoded.last_hidden_state, encoder_attention_mask=is_read_BR,
        use_cache=False,
    )  # fmt: skip
    return decoded.last_hidden_state[is_written_BW], encoded, decoded


def _rows(flat_T: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(ids in a row for each example, whether each is a token), both [B, W]."""
    ids_BW = pad_sequence(list(flat_T.split(list(lengths))), batch_first=True)
    sizes_B = torch.tensor(lengths, device=flat_T.device)
    return ids_BW, torch.arange(ids_BW.shape[1], device=flat_T.device) < sizes_B[:, None]
