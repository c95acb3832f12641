"""LoRA students: low-rank adapters beside a model's linear layers while it learns, merged into them at the end.

Knows peft. The model stays the object that it was, so the rest of training does not know of adapters.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pipelines.core.config import LoRA

FILE = "lora.json"  # in a state for a probe: what was added
_ADAPTER = "default"  # peft's name


def add(model: Any, config: LoRA) -> None:
    """Give the model's linear layers adapters; only these are trained."""
    from peft import LoraConfig, LoraModel

    targets = config.targets if isinstance(config.targets, str) else list(config.targets)
    LoraModel(model, LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets), _ADAPTER)


def merged(model: Any) -> dict[str, Tensor]:
    """The model's weights as if it had learnt them without adapters: W + scale·B·A, added up in fp32."""
    weights = {}
    for name, value in model.state_dict().items():
        if ".lora_" not in name:
            weights[name.replace(".base_layer.", ".")] = value
    for name, base, update in _updates(model):
        weights[f"{name}.weight"] = (base.float() + update).to(base.dtype)
    return weights


@torch.no_grad()
def take_out(model: Any) -> None:
    """Of a model that adapters were merged into: W - scale·B·A, in place, so that with them it is what it was."""
    for _, base, update in _updates(model):
        base.sub_(update)


def _updates(model: Any) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(layer, its weight W, scale·B·A in fp32) of every layer with adapters."""
    from peft.tuners.lora import Linear

    layers = {name: module for name, module in model.named_modules() if isinstance(module, Linear)}
    assert layers, "a LoRA student without adapters"
    for name, layer in layers.items():
        down, up = layer.lora_A[_ADAPTER].weight.float(), layer.lora_B[_ADAPTER].weight.float()
        yield name, layer.base_layer.weight, layer.scaling[_ADAPTER] * (up @ down)
