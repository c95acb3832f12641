"""LoRA: what learns, and that the merged weights say what the model with its adapters says."""

from pathlib import Path

import pytest
import torch

from pipelines.core.config import LoRA
from pipelines.train import lora
from pipelines.train.attention import load

IDS = torch.tensor([[5, 17, 33, 41, 2]])


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "down_proj")])
def test_merged_weights_say_what_the_adapted_model_says(
    targets: str | tuple[str, ...], tiny_llama: Path, tmp_path: Path
) -> None:
    model, plain = load(tiny_llama, torch.float32), load(tiny_llama, torch.float32)
    lora.add(model, LoRA(rank=4, alpha=12, targets=targets))
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learning
    assert all(".lora_" in name for name in learning)
    assert not any("lm_head" in name or "embed" in name for name in learning)
    lengths = {"example_lengths": (5,)}
    with torch.no_grad():
        assert torch.equal(model(IDS, **lengths).logits, plain(IDS, **lengths).logits)  # as B begins with zeros
        torch.manual_seed(0)
        for name, p in model.named_parameters():
            if ".lora_" in name:
                p.normal_(std=0.1)
        adapted = model(IDS, **lengths).logits
    model.save_pretrained(tmp_path, state_dict=lora.merged(model))
    (weights,) = tmp_path.glob("*.safetensors")
    again = load(tmp_path, torch.float32)
    assert set(dict(again.named_parameters())) == set(dict(plain.named_parameters()))
    assert weights.stat().st_size < 1.1 * next(tiny_llama.glob("*.safetensors")).stat().st_size
    with torch.no_grad():
        said = again(IDS, **lengths).logits
    assert torch.allclose(said, adapted, atol=2e-4)
    assert not torch.allclose(said, plain(IDS, **lengths).logits, atol=1e-2)
