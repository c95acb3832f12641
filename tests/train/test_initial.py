"""A student of random weights: its family and tokens are the teacher's, its sizes and seed the recipe's."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from pipelines.core.config import RandomStudent
from pipelines.runs.sizes import parameters
from pipelines.train.initial import _draw

SMALL = RandomStudent(kind="random", teacher="main", layers=2, width=48, heads=3, inner=96)


def test_its_sizes_are_those_asked_for_and_it_loads(tiny_llama: Path, tmp_path: Path) -> None:
    model, facts = _draw(SMALL, tiny_llama, 1, lambda _: None)
    model.save_pretrained(tmp_path)
    header = json.loads((tmp_path / "config.json").read_text())
    teacher = json.loads((tiny_llama / "config.json").read_text())
    assert header["vocab_size"] == teacher["vocab_size"]
    assert (header["num_hidden_layers"], header["hidden_size"], header["num_key_value_heads"]) == (2, 48, 3)
    norms = (2 * 2 + 1) * 48
    assert facts["parameters"] == parameters({**teacher, **SMALL.sizes(teacher)}) + norms
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again(input_ids=torch.tensor([[3, 5, 7]])).logits.isfinite().all()


def test_the_seed_draws_its_weights(tiny_llama: Path) -> None:
    one, same, other = (_draw(SMALL, tiny_llama, seed, lambda _: None)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


@pytest.mark.parametrize("changes", [{"width": 50}, {"key_heads": 2}, {"layers": 0}])
def test_sizes_that_cannot_be_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        RandomStudent.model_validate(SMALL.model_dump() | changes)
