"""Attention within a pack: the same numbers and gradients as transformers' own, example by example."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, MistralConfig

from pipelines.core.records import TrainExample
from pipelines.train import attention
from pipelines.train.batches import collate
from pipelines.train.step import logprobs_of


def _mean_loss_and_gradients(model: Any, examples: list[TrainExample]) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = -logprobs_of(model, batch := collate(examples, {})).gather(1, batch.targets_N[:, None]).mean()
    loss.backward()
    return float(loss.detach()), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("short", [attention.SHORT, 0])
def test_a_packs_loss_and_gradients_are_those_of_transformers_own_attention(
    short: int, tiny_llama: Path, talk: list[TrainExample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "SHORT", short)
    ours = attention.load(tiny_llama, torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32, attn_implementation="sdpa")
    assert ours.config._attn_implementation == attention.NAME
    loss, gradients = _mean_loss_and_gradients(ours, talk)
    wanted, wanted_gradients = _mean_loss_and_gradients(theirs, talk)
    assert loss == pytest.approx(wanted, abs=1e-5)
    assert gradients.keys() == wanted_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted_gradients[name], atol=1e-5, rtol=1e-3, msg=name)


def test_a_model_with_a_sliding_window_keeps_its_own_attention(tmp_path: Path, talk: list[TrainExample]) -> None:
    small: dict[str, Any] = {
        "vocab_size": 256, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1,
    }  # fmt: skip
    examples = [TrainExample(e.id, "", "", "answer", tuple(i % 256 for i in e.token_ids), e.weights) for e in talk]
    for config, own in ((LlamaConfig(**small), True), (MistralConfig(**small, sliding_window=4), False)):
        folder = tmp_path / config.model_type
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        model = attention.load(folder, torch.float32)
        assert (model.config._attn_implementation == attention.NAME) is own
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            alone = torch.cat([logprobs_of(plain, collate([e], {})) for e in examples])
            torch.testing.assert_close(logprobs_of(model, collate(examples, {})), alone, atol=1e-5, rtol=0)


def test_the_saved_model_names_no_attention_of_ours(tiny_llama: Path, tmp_path: Path) -> None:
    attention.load(tiny_llama, torch.float32).save_pretrained(tmp_path)
    assert attention.NAME not in (tmp_path / "config.json").read_text()
    assert AutoConfig.from_pretrained(tmp_path)._attn_implementation != attention.NAME
