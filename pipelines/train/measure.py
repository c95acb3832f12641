"""A model's loss on held-out examples: nats at their weighted tokens, example by example.

Knows models and packs; the same forward as in training, so that one recipe's figures compare with another's. Does not
know which models are compared: `held_out_loss.py` does.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from pipelines.core.config import Precision
from pipelines.core.records import TrainExample
from pipelines.train.attention import load
from pipelines.train.batches import collate, packs
from pipelines.train.step import logprobs_of

TOKENS_PER_PACK = 1024


_DTYPES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp32": torch.float32}


def losses(
    folder: Path, examples: Sequence[TrainExample], shown: Callable[[int], None], precision: Precision = "bf16"
) -> list[tuple[float, int]]:
    """(summed negative log-likelihood in nats, tokens) of each example, in order; weights only say which tokens count.

    `shown` is called with the number of examples that are newly done.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load(folder, _DTYPES[precision]).to(device)
    measured: dict[str, tuple[float, int]] = {}
    for pack in packs(examples, TOKENS_PER_PACK):
        batch = collate(pack, {}).to(device)
        with torch.inference_mode():
            nll_N = -logprobs_of(model, batch).gather(1, batch.targets_N[:, None]).squeeze(1)
        counts = torch.bincount(batch.example_N, minlength=len(pack)).tolist()
        sums = torch.zeros(len(pack), device=device).index_add(0, batch.example_N, nll_N).tolist()
        measured |= zip(batch.ids, zip(sums, counts, strict=True), strict=True)
        shown(len(pack))
    return [measured[example.id] for example in examples]
