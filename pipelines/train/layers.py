"""A causal model's decoder layers as things that can be left out, replaced and run one at a time.

Knows Hugging Face models with one list of decoder layers. Does not know why a layer is taken out.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pipelines.train.batches import Batch
from pipelines.train.head import run_body


def layer_list(model: nn.Module) -> nn.ModuleList:
    """The list of decoder layers. ValueError where the model has none, or more than one."""
    count = model.config.num_hidden_layers  # type: ignore[union-attr]
    found = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if len(found) != 1:
        raise ValueError(f"{type(model).__name__} has {len(found)} lists of {count} layers; it cannot be pruned")
    return found[0]


def replace_layers(model: Any, stack: nn.ModuleList, layers: Sequence[nn.Module]) -> None:
    """Put these layers into the model's own list; transformers runs as many as the config says."""
    stack._modules.clear()
    stack.extend(layers)
    model.config.num_hidden_layers = len(layers)


def keep_layers(model: Any, indices: Sequence[int]) -> None:
    """Keep only these layers, for good: the config and each layer's own number follow."""
    stack = layer_list(model)
    kept = [stack[j] for j in indices]
    types = getattr(model.config, "layer_types", None)
    if types is not None:
        model.config.layer_types = [types[j] for j in indices]
    replace_layers(model, stack, kept)
    for number, layer in enumerate(kept):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = number


class Given(nn.Module):
    """Stands for the layers below: whatever comes in, the cached hidden state goes out."""

    def __init__(self, hidden_1TD: Tensor) -> None:
        super().__init__()
        self._hidden = hidden_1TD

    def forward(self, *_: Any, **__: Any) -> Tensor:
        return self._hidden


def layer_inputs(model: Any, stack: nn.ModuleList, batch: Batch) -> list[Tensor]:
    """What each layer is given on this batch: hidden states [1, T, D]."""
    inputs: list[Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for layer in stack]
    run_body(model, batch)
    for hook in hooks:
        hook.remove()
    assert len(inputs) == len(stack), "a layer was not called with its hidden state first"
    return inputs
