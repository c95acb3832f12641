"""Attention kept inside each example of a pack, by computing one example after another.

Knows transformers' attention interface, and hands on queries and keys to whoever wants to compare attention
(`losses/attention_maps.py`). Does not know batches or losses. A mask over the whole pack says the same and
costs the square of the pack's length instead of the squares of its examples' (benchmarks/RESULTS.md has the step's
times). Models whose layers look at anything but the whole past keep transformers' own masks.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NAME = "tutelage_packed"
SHORT = 512  # on CPU, up to this length plain matrix products are faster than torch's flash kernel's backward


class Looked(NamedTuple):
    """What one layer's attention is made of. G key heads serve H query heads."""

    query_1HTD: Tensor
    key_1GTD: Tensor
    scaling: float


def load(folder: str | Path, dtype: torch.dtype) -> Any:
    """A Hugging Face model for packs, in evaluation mode; see `lengths_for` for what a causal one's forward needs.

    An encoder-decoder, whose packs are padded, keeps transformers' own attention.
    """
    from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    if AutoConfig.from_pretrained(folder).is_encoder_decoder:
        return AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=dtype)
    AttentionInterface.register(NAME, packed)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    if model._supports_attention_backend and _sees_whole_past(model.config):
        model.set_attn_implementation(NAME)
    return model


def lengths_for(model: Any, example_lengths: tuple[int, ...]) -> dict[str, Any]:
    """What the model's forward has to be told of a pack."""
    return {"example_lengths": example_lengths} if model.config._attn_implementation == NAME else {}


def packed(
    module: nn.Module,
    query_1HTD: Tensor,
    key_1GTD: Tensor,
    value_1GTD: Tensor,
    attention_mask: Tensor | None,
    *,
    example_lengths: tuple[int, ...] | None = None,
    looked: list[Looked] | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each example; [1, T, heads, width per head]. G key heads serve H query heads.

    Where there is a list `looked`, each layer leaves its queries and keys there.
    """
    assert attention_mask is None, "a pack was given a mask, and its examples' lengths"
    lengths = example_lengths or (query_1HTD.shape[2],)  # without them it is all one example
    scaling = scaling or query_1HTD.shape[-1] ** -0.5
    if looked is not None:
        looked.append(Looked(query_1HTD, key_1GTD, scaling))
    parts = zip(*(x.split(lengths, dim=2) for x in (query_1HTD, key_1GTD, value_1GTD)), strict=True)
    attended = [_attend(q, k, v, scaling, dropout) for q, k, v in parts]
    return torch.cat(attended, dim=2).transpose(1, 2), None


def _attend(q_1HTD: Tensor, k_1GTD: Tensor, v_1GTD: Tensor, scaling: float, dropout: float) -> Tensor:
    shared = q_1HTD.shape[1] // k_1GTD.shape[1]
    k_1HTD, v_1HTD = (x.repeat_interleave(shared, dim=1) for x in (k_1GTD, v_1GTD))
    length = q_1HTD.shape[2]
    if q_1HTD.device.type != "cpu" or length > SHORT:
        return F.scaled_dot_product_attention(q_1HTD, k_1HTD, v_1HTD, is_causal=True, scale=scaling, dropout_p=dropout)
    scores_1HTT = (q_1HTD @ k_1HTD.transpose(2, 3)).float() * scaling
    later_TT = torch.ones(length, length, dtype=torch.bool).triu(1)
    weights_1HTT = scores_1HTT.masked_fill(later_TT, float("-inf")).softmax(dim=3).to(q_1HTD.dtype)
    return F.dropout(weights_1HTT, dropout) @ v_1HTD


def _sees_whole_past(config: Any) -> bool:
    """Whether every layer's attention is over all earlier tokens, with nothing added to its scores."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    special = ("sliding_window", "attention_chunk_size", "attn_logit_softcapping", "alibi", "position_embedding_type")
    return kinds == {"full_attention"} and not any(getattr(config, name, None) for name in special)
