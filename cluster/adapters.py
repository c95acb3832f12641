"""A model and its LoRA adapter become one plain model, once.

Knows PEFT's folders. Merged weights can be run, served, scored and pruned like any model's, so that nothing else has to
know of adapters. An adapter over quantised weights cannot be merged.
"""

import json
import sys
from pathlib import Path

from cluster.cache import made_once
from pipelines.core.errors import UserError

CONFIG = "adapter_config.json"


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
