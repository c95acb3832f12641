"""Makes an engine write given tokens, so that it tells how likely each is where it stands.

A vLLM logits processor, for engines that are asked how likely several continuations of one text are. The usual way
sends text and continuation as one prompt and asks for its tokens' log-probabilities; for that vLLM reads the whole
prompt every time, even what it has just read. Here the text is the prompt, which the prefix cache keeps, and each
continuation is written behind it. The log-probabilities are the model's own: vLLM takes them before any processor.
Knows vLLM's batches. Does not know who asks, or why.
"""

from collections.abc import Sequence
from typing import Any

import torch
from vllm import SamplingParams
from vllm.config import VllmConfig
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

TOKENS = "forced_tokens"  # in a request's `vllm_xargs`: the ids to write; as many as its `max_tokens`

Row = tuple[Sequence[int], Sequence[int]]  # ids to write, ids written so far; vLLM adds to the second


class Forced(LogitsProcessor):
    """Leaves the next given token as the only one, in the rows of requests that have `forced_tokens`.

    An id that the model does not have is not written, as the reply's `token_ids` show: to raise would end the engine.
    """

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """ValueError, which a client sees as a 400, where what is to be written is no list of ids of that length."""
        ids = _ids(sampling_params)
        if ids is None:
            return
        if not isinstance(ids, list) or not all(type(id) is int and id >= 0 for id in ids):
            raise ValueError(f"{TOKENS} has to be a list of token ids")
        if len(ids) != sampling_params.max_tokens:
            raise ValueError(f"{TOKENS} has {len(ids)} ids, and max_tokens is {sampling_params.max_tokens}")

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        self._rows: dict[int, Row] = {}

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        process_dict_updates(self._rows, batch_update, _row)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        for n, (ids, written) in self._rows.items():
            if len(written) < len(ids) and (id := ids[len(written)]) < logits.shape[1]:
                logits[n] = float("-inf")
                logits[n, id] = 0.0
        return logits


def _ids(params: SamplingParams) -> Any:
    return (params.extra_args or {}).get(TOKENS)


def _row(params: SamplingParams, prompt_ids: Sequence[int] | None, written: Sequence[int]) -> Row | None:
    ids = _ids(params)
    return (ids, written) if ids else None
