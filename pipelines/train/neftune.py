"""NEFTune: noise on the embeddings in training (arXiv 2310.05914, algorithm 1).

Knows examples in packs. The noise is seeded by run, step and example, so that neither a resumed run nor another number
of workers changes it.
"""

import math

import torch
from torch import Tensor

from pipelines.core.hashing import key_of
from pipelines.train.batches import Batch


def noise(batch: Batch, width: int, alpha: float, seed: int, step: int) -> Tensor:
    """[1, T, width], uniform within ±alpha / √(L·width), L the length of a token's own example."""
    parts = []
    for id, length in zip(batch.ids, batch.lengths, strict=True):
        generator = torch.Generator().manual_seed(int(key_of("neftune", seed, step, id)[:15], 16))
        uniform_LD = 2 * torch.rand(length, width, generator=generator) - 1
        parts.append(uniform_LD * alpha / math.sqrt(length * width))
    return torch.cat(parts)[None]
