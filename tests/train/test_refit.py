"""Refitting solves the least squares it says, changes only layers above a gap, and brings hidden states nearer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig

from pipelines.core.records import TrainExample
from pipelines.train.attention import load
from pipelines.train.refit import refit

_KEPT = [0, 1, 3]  # of four: layer 2 is gone, so layer 1 is fitted first
_RIDGE = 0.5


def _plain(folder: Path, kept: list[int] | None = None) -> Any:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    if kept is not None:
        model.model.layers = torch.nn.ModuleList(model.model.layers[j] for j in kept)
        model.config.num_hidden_layers = len(kept)
    return model


def _states(model: Any, example: TrainExample) -> tuple[torch.Tensor, ...]:
    """Hidden states [T, D] after the embeddings and after each layer but the last (which transformers normalises)."""
    with torch.no_grad():
        out = model.model(torch.tensor([example.token_ids]), output_hidden_states=True, use_cache=False)
    return tuple(state[0].float() for state in out.hidden_states)


def _map_inputs(model: Any, layer: int, example: TrainExample) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    hook = model.model.layers[layer].mlp.down_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    _states(model, example)
    hook.remove()
    return seen[0][0].float()


def _ridge_by_numpy(folder: Path, examples: list[TrainExample]) -> np.ndarray:
    """What layer 1's output map should become: it takes over layer 2."""
    teacher, student = _plain(folder), _plain(folder, _KEPT)
    x = np.concatenate([_map_inputs(student, 1, e)[1:].numpy() for e in examples]).astype(float)
    missing = [(_states(teacher, e)[3] - _states(student, e)[2])[1:].numpy() for e in examples]
    gram = x.T @ x
    ridge = _RIDGE * np.trace(gram) / len(gram)
    change = np.linalg.solve(gram + ridge * np.eye(len(gram)), x.T @ np.concatenate(missing).astype(float))
    return student.model.layers[1].mlp.down_proj.weight.detach().double().numpy() + change.T


def test_the_layer_below_a_gap_gets_the_ridge_solution(tiny_llama: Path, talk: list[TrainExample]) -> None:
    told: list[int] = []
    model = refit(load(tiny_llama, torch.bfloat16), _KEPT, talk, _RIDGE, told.append)
    assert told == [1, 2, 3]
    got = model.model.layers[1].mlp.down_proj.weight.detach().double().numpy()
    before = _plain(tiny_llama).model.layers[1].mlp.down_proj.weight.detach().double().numpy()
    wanted = _ridge_by_numpy(tiny_llama, talk)
    assert np.abs(wanted - before).max() > 0.05
    np.testing.assert_allclose(got, wanted, atol=0.01)


def test_below_the_gap_nothing_changes_and_only_output_maps_do(tiny_llama: Path, talk: list[TrainExample]) -> None:
    model = refit(load(tiny_llama, torch.bfloat16), _KEPT, talk, _RIDGE, lambda _: None)
    before = _plain(tiny_llama, _KEPT).state_dict()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"model.layers.{place}.mlp.down_proj.weight" for place in (1, 2)}


def test_the_students_states_come_nearer_to_the_teachers(tiny_llama: Path, talk: list[TrainExample]) -> None:
    def distance(student: Any) -> float:
        pairs = [(_states(_plain(tiny_llama), e)[-1], _states(student, e)[-1]) for e in talk]
        return sum(float((t - s)[1:].square().sum()) for t, s in pairs)

    fitted = distance(refit(load(tiny_llama, torch.bfloat16), _KEPT, talk, 0.01, lambda _: None))
    held_back = distance(refit(load(tiny_llama, torch.bfloat16), _KEPT, talk, 1e9, lambda _: None))
    untouched = distance(_plain(tiny_llama, _KEPT))
    assert fitted < 0.5 * untouched
    assert held_back == pytest.approx(untouched, rel=0.01)


@pytest.mark.parametrize("kept", [[1, 2, 3], [0, 1, 2], [0, 3]])
def test_a_gap_may_be_anywhere(kept: list[int], tiny_llama: Path, talk: list[TrainExample]) -> None:
    model = refit(load(tiny_llama, torch.bfloat16), kept, talk, _RIDGE, lambda _: None)
    assert model.config.num_hidden_layers == len(model.model.layers) == len(kept)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_with_nothing_removed_nothing_changes(tiny_llama: Path, talk: list[TrainExample]) -> None:
    model = refit(load(tiny_llama, torch.bfloat16), [0, 1, 2, 3], talk, _RIDGE, lambda _: None)
    before = _plain(tiny_llama).state_dict()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_layers_that_normalise_their_output_are_refused_in_words(talk: list[TrainExample]) -> None:
    config = Gemma3TextConfig(
        vocab_size=400, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"leave student\.refit out"):
        refit(Gemma3ForCausalLM(config), [0], talk, _RIDGE, lambda _: None)
