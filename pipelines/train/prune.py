"""A student out of its teacher: layers are removed one by one, each time the one whose loss hurts least.

Knows causal Hugging Face models with one list of decoder layers, and measures harm as forward KL to the intact
teacher at the calibration examples' weighted tokens. Removing layers by position wrecks a model that removing
them by measured harm keeps usable. Does not train; `refit.py` gives back what can be given back without.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.core.config import PrunedStudent
from pipelines.core.records import TrainExample
from pipelines.train.attention import load
from pipelines.train.batches import Batch, collate
from pipelines.train.layers import Given, keep_layers, layer_inputs, layer_list, replace_layers
from pipelines.train.step import logprobs_of

Removed = tuple[int, float]  # (index in the teacher, KL after removing it, in nats per token)


class Calibration:
    """The intact teacher's distributions at a few examples' weighted tokens: what harm is measured against."""

    def __init__(self, teacher: Any, examples: Sequence[TrainExample], answer_tokens: int) -> None:
        self.batch: Batch = collate([_shortened(e, answer_tokens) for e in examples], {})
        self._teacher_NV: Tensor = self._logprobs(teacher)

    def harm(self, model: Any) -> float:
        """KL(teacher ‖ model), in nats per token."""
        return float((self._teacher_NV.exp() * (self._teacher_NV - self._logprobs(model))).sum(1).mean())

    def _logprobs(self, model: Any) -> Tensor:
        with torch.inference_mode():
            return logprobs_of(model, self.batch)


def prune(
    folder: Path, config: PrunedStudent, examples: Sequence[TrainExample], shown: Callable[[int], None]
) -> tuple[Any, list[Removed]]:
    """The model without some of its layers, in bf16, and what was removed in order.

    `shown` is called with the number of layers removed so far. The search is greedy: for each removal, every
    layer left is tried, from the cached input of the layer above it. Layers that the recipe names go unsearched.
    """
    model = load(folder, torch.bfloat16)
    calibration = Calibration(model, examples, config.calibration_tokens)
    removed: list[Removed] = []
    left = list(range(model.config.num_hidden_layers))
    wanted = config.layers_left(len(left))
    while len(left) > wanted:
        if config.remove is not None:
            at, harm = left.index(config.remove[len(removed)]), None
        else:
            harms = _harm_of_each(model, calibration)
            at = min(range(len(harms)), key=lambda j: harms[j])
            harm = harms[at]
        keep_layers(model, [j for j in range(len(left)) if j != at])
        removed.append((left.pop(at), calibration.harm(model) if harm is None else harm))
        shown(len(removed))
    return model, removed


def _harm_of_each(model: Any, calibration: Calibration) -> list[float]:
    """The harm of leaving out layer j, for every j."""
    stack = layer_list(model)
    with torch.inference_mode():
        inputs = layer_inputs(model, stack, calibration.batch)
    whole = list(stack)
    harm = []
    for j in range(len(whole)):
        # The layers above keep their places: a model with two kinds of layer tells them apart by number.
        replace_layers(model, stack, [*[Given(inputs[j])] * (j + 1), *whole[j + 1 :]])
        harm.append(calibration.harm(model))
    replace_layers(model, stack, whole)
    return harm


def _shortened(example: TrainExample, answer_tokens: int) -> TrainExample:
    """The prompt and the first tokens of the answer: enough to measure, cheaper to run."""
    first = next(t for t, weight in enumerate(example.weights) if weight > 0)
    stop = first + answer_tokens
    short = copy.copy(example)
    return TrainExample(
        short.id, short.answer_id, short.instruction_id, short.component,
        short.token_ids[:stop], short.weights[:stop],
    )  # fmt: skip
