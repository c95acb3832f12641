"""LoRA adapters: one that becomes a plain model with the model that it adapts, and one that is served beside it.

Knows PEFT's folders. Merged weights can be run, served, scored and pruned like any model's, so that recipes' teachers
and students are of that kind. An adapter over quantised weights cannot be merged. One that is served takes next to no
memory, and its engine can hold many.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from cluster.cache import made_once
from cluster.tensors import shapes
from pipelines.core.errors import UserError

CONFIG = "adapter_config.json"
LARGEST_RANK = 512  # that vLLM has kernels for
_MATRIX = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<side>[AB])\.weight\Z")


@dataclass(frozen=True)
class Adapter:
    """An adapter that a model's engine holds beside it."""

    name: str  # as a client names the model that it makes
    folder: Path
    rank: int


def beside(name: str, folder: Path, model: Path, where: str) -> Adapter:
    """An adapter of this model. UserError, naming the setting `where`, where vLLM could not hold the two together."""
    content(folder, where)
    config = json.loads((folder / CONFIG).read_text())
    rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
    wrong = "DoRA" if config.get("use_dora") else "biases" if config.get("bias", "none") != "none" else None
    if wrong or rank > LARGEST_RANK:
        raise UserError(f"{where}: {folder} has {wrong or f'rank {rank}'}, which vLLM cannot serve; merge it instead")
    if strange := _strange(folder, shapes(model)):
        raise UserError(f"{where}: {folder} is no adapter of the model in {model}, which has no place for {strange}")
    return Adapter(name, folder.resolve(), rank)


def _strange(adapter: Path, base: dict[str, tuple[int, ...]]) -> str | None:
    """A tensor that fits nothing in the model: A is [rank, in], B [out, rank], the weight beside them [out, in]."""
    for name, shape in shapes(adapter).items():
        matrix = _MATRIX.match(name)
        weight = base.get(f"{matrix['layer']}.weight", ()) if matrix else ()
        fits = (
            matrix and len(weight) == 2 and (shape[1] == weight[1] if matrix["side"] == "A" else shape[0] == weight[0])
        )
        if not fits:
            return name
    return None


def content(adapter: Path, where: str) -> list[Path]:
    """The files that say what an adapter does. UserError where it is none."""
    weights = sorted(adapter.glob("*.safetensors"))
    if not (adapter / CONFIG).is_file() or not weights:
        raise UserError(f"{where}: {adapter} is not a LoRA adapter (it needs {CONFIG} and *.safetensors)")
    if (kind := json.loads((adapter / CONFIG).read_text()).get("peft_type")) != "LORA":
        raise UserError(f"{where}: {adapter} is an adapter of type {kind}, not LORA")
    return [adapter / CONFIG, *weights]


def merged(model: Path, adapter: Path, digest: str) -> Path:
    """The folder of the merged model, made on first use."""
    return made_once(digest, f"merging {adapter} into {model}", __name__, str(model), str(adapter))


def _merge(model: Path, adapter: Path, target: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    whole = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model, dtype="auto"), adapter)
    whole.merge_and_unload().save_pretrained(target)
    AutoTokenizer.from_pretrained(model).save_pretrained(target)


if __name__ == "__main__":
    _merge(*map(Path, sys.argv[1:4]))
