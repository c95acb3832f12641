"""LoRA students: low-rank adapters beside a model's linear layers while it learns, merged into them at the end.

Knows peft. The model stays the object that it was, so the rest of training does not know of adapters.
"""

from typing import Any

from torch import Tensor

from pipelines.core.config import LoRA

_ADAPTER = "default"  # peft's name


def add(model: Any, config: LoRA) -> None:
    """Give the model's linear layers adapters; only these are trained."""
    from peft import LoraConfig, LoraModel

    targets = config.targets if isinstance(config.targets, str) else list(config.targets)
    LoraModel(model, LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets), _ADAPTER)


def merged(model: Any) -> dict[str, Tensor]:
    """The model's weights as if it had learnt them without adapters: W + scale·B·A, added up in fp32."""
    from peft.tuners.lora import Linear

    layers = {name: module for name, module in model.named_modules() if isinstance(module, Linear)}
    assert layers, "a LoRA student without adapters"
    weights = {}
    for name, value in model.state_dict().items():
        if ".lora_" not in name:
            weights[name.replace(".base_layer.", ".")] = value
    for name, layer in layers.items():
        base = layer.base_layer.weight
        update = layer.lora_B[_ADAPTER].weight.float() @ layer.lora_A[_ADAPTER].weight.float()
        weights[f"{name}.weight"] = (base.float() + layer.scaling[_ADAPTER] * update).to(base.dtype)
    return weights
