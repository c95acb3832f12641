"""What influence has to be better than, for choosing rows: loss, instruction-following difficulty, and chance.

Knows the warm student and single examples. Does not know steps or reference sets. Weights say only which tokens count.
"""

from dataclasses import replace
from typing import Any

import torch

from pipelines.core.hashing import key_of, seed_of
from pipelines.core.records import TrainExample
from pipelines.influence.nats import nats
from pipelines.train.batches import collate


def loss(model: Any, example: TrainExample) -> float:
    """Nats per weighted token: what the student cannot say yet."""
    batch = collate([example], {}).to(model.device)
    with torch.no_grad():
        return float(nats(model, batch, torch.ones_like(batch.weights_N)).sum() / len(batch.positions_N))


def difficulty(model: Any, example: TrainExample) -> float:
    """IFD(Q, A) = s(A | Q) / s(A), losses per token (arXiv 2308.12032): near 1, the instruction hardly helps.

    Of examples whose weighted tokens are an answer.
    """
    return loss(model, example) / loss(model, answer_alone(example))


def answer_alone(example: TrainExample) -> TrainExample:
    """What stands before the answer left off, but for one token, which its first is predicted from."""
    start = next(t for t, weight in enumerate(example.weights) if weight > 0 and t > 0) - 1
    return replace(
        example, token_ids=example.token_ids[start:], weights=(0.0, *example.weights[start + 1 :]), encoder_ids=()
    )


def chance(example: TrainExample, seed: int) -> float:
    """Uniform in (0, 1), the same for a row whatever others there are."""
    return seed_of(key_of("chance", seed, example.id)) / 2**31
