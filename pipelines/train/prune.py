"""A student out of its teacher: layers are removed one by one, each time the one whose loss hurts least.

Knows causal Hugging Face models with one list of decoder layers, and measures harm as forward KL to the intact
teacher at the calibration examples' weighted tokens. Removing layers by position wrecks a model that removing
them by measured harm keeps usable. Does not train.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.core.records import TrainExample
from pipelines.train.attention import load
from pipelines.train.batches import Batch, collate
from pipelines.train.step import logprobs_of

Removed = tuple[int, float]  # (index in the teacher, KL after removing it, in nats per token)


def prune(
    folder: Path,
    layers: int,
    examples: Sequence[TrainExample],
    answer_tokens: int,
    shown: Callable[[int], None],
) -> tuple[Any, list[Removed]]:
    """The model with `layers` layers left, in bf16, and what was removed in order.

    `shown` is called with the number of layers removed so far. The search is greedy: for each removal, every
    layer left is tried, from the cached input of the layer above it.
    """
    model = load(folder, torch.bfloat16)
    batch = collate([_shortened(e, answer_tokens) for e in examples], {})
    removed: list[Removed] = []
    left = list(range(model.config.num_hidden_layers))
    with torch.inference_mode():
        teacher_NV = logprobs_of(model, batch)
        while len(left) > layers:
            harm = _harm_of_each(model, batch, teacher_NV)
            worst = min(range(len(harm)), key=lambda j: harm[j])
            removed.append((left.pop(worst), harm[worst]))
            _keep(model, [j for j in range(len(harm)) if j != worst])
            shown(len(removed))
    return model, removed


def _harm_of_each(model: Any, batch: Batch, teacher_NV: Tensor) -> list[float]:
    """KL(teacher ‖ model without layer j), in nats per token, for every layer j."""
    stack = layer_list(model)
    inputs = _layer_inputs(model, stack, batch)
    whole = list(stack)
    harm = []
    for j in range(len(whole)):
        # The layers above keep their places: a model with two kinds of layer tells them apart by number.
        _replace(model, stack, [*[_Given(inputs[j])] * (j + 1), *whole[j + 1 :]])
        student_NV = logprobs_of(model, batch)
        harm.append(float((teacher_NV.exp() * (teacher_NV - student_NV)).sum(1).mean()))
    _replace(model, stack, whole)
    return harm


class _Given(nn.Module):
    """Stands for the layers below: whatever comes in, the cached hidden state goes out."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self._hidden = hidden

    def forward(self, *_: Any, **__: Any) -> Tensor:
        return self._hidden


def _layer_inputs(model: Any, stack: nn.ModuleList, batch: Batch) -> list[Tensor]:
    """What each layer is given on this batch."""
    inputs: list[Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for layer in stack]
    logprobs_of(model, batch)
    for hook in hooks:
        hook.remove()
    assert len(inputs) == len(stack), "a layer was not called with its hidden state first"
    return inputs


def layer_list(model: nn.Module) -> nn.ModuleList:
    """The list of decoder layers. ValueError where the model has none, or more than one."""
    count = model.config.num_hidden_layers  # type: ignore[union-attr]
    found = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if len(found) != 1:
        raise ValueError(f"{type(model).__name__} has {len(found)} lists of {count} layers; it cannot be pruned")
    return found[0]


def _replace(model: Any, stack: nn.ModuleList, layers: Sequence[nn.Module]) -> None:
    """Put these layers into the model's own list; transformers runs as many as the config says."""
    stack._modules.clear()
    stack.extend(layers)
    model.config.num_hidden_layers = len(layers)


def _keep(model: Any, indices: Sequence[int]) -> None:
    """Keep only these layers, for good: the config and each layer's own number follow."""
    stack = layer_list(model)
    kept = [stack[j] for j in indices]
    types = getattr(model.config, "layer_types", None)
    if types is not None:
        model.config.layer_types = [types[j] for j in indices]
    _replace(model, stack, kept)
    for number, layer in enumerate(kept):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = number


def _shortened(example: TrainExample, answer_tokens: int) -> TrainExample:
    """The prompt and the first tokens of the answer: enough to measure, cheaper to run."""
    first = next(t for t, weight in enumerate(example.weights) if weight > 0)
    stop = first + answer_tokens
    short = copy.copy(example)
    return TrainExample(
        short.id, short.answer_id, short.instruction_id, short.component,
        short.token_ids[:stop], short.weights[:stop],
    )  # fmt: skip
