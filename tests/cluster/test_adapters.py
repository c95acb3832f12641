"""A model with a LoRA adapter is one model, by both their contents."""

import json
from pathlib import Path

import pytest

from cluster.models import adapted, resolve
from pipelines.core.errors import UserError


@pytest.fixture
def adapter(tiny_llama: Path, tmp_path: Path) -> Path:
    """A LoRA adapter of the tiny model that changes what it says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(2)
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_the_merged_model_says_what_model_and_adapter_say(
    tiny_llama: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    base = resolve(str(tiny_llama), "teachers.main.model")
    model = adapted(base, str(adapter), "teachers.main.adapter")
    assert not model.is_here()
    merged = AutoModelForCausalLM.from_pretrained(model.folder()).eval()
    assert model.is_here()
    plain = AutoModelForCausalLM.from_pretrained(tiny_llama).eval()
    ids = torch.tensor([[5, 17, 33, 60]])
    with torch.inference_mode():
        before = plain(ids).logits
        together = PeftModel.from_pretrained(plain, adapter).eval()(ids).logits
        torch.testing.assert_close(merged(ids).logits, together, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(before, together, atol=1e-2)
    assert (model.folder() / "tokenizer.json").is_file()


def test_its_digest_is_of_both(tiny_llama: Path, adapter: Path, tmp_path: Path) -> None:
    base = resolve(str(tiny_llama), "m")
    first = adapted(base, str(adapter), "a").digest
    assert first != base.digest
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 99}))
    assert adapted(base, str(adapter), "a").digest != first


def test_what_is_no_lora_adapter_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    base = resolve(str(tiny_llama), "m")
    with pytest.raises(UserError, match=r"teachers\.main\.adapter: .* is not a LoRA adapter"):
        adapted(base, str(tmp_path), "teachers.main.adapter")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "IA3"}')
    (tmp_path / "adapter_model.safetensors").touch()
    with pytest.raises(UserError, match="an adapter of type IA3"):
        adapted(base, str(tmp_path), "teachers.main.adapter")
