"""Pruning finds the layer that does nothing, measures harm as a whole run would, and leaves a model that loads.

Both for a model whose layers are all alike and for one that alternates two kinds of attention.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from pipelines.core.config import PrunedStudent
from pipelines.core.records import TrainExample
from pipelines.train.batches import collate
from pipelines.train.prune import prune
from pipelines.train.step import logprobs_of

_IDLE = 1


def _alike(folder: Path) -> Any:
    return _load(folder)


def _of_two_kinds(folder: Path) -> Any:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=_load(folder).config.vocab_size, hidden_size=64, intermediate_size=128, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=512,
        initializer_range=0.1, sliding_window=8, layer_types=["sliding_attention", "full_attention"] * 2,
    )  # fmt: skip
    torch.manual_seed(1)
    return Gemma3ForCausalLM(config).to(torch.bfloat16)


@pytest.fixture(scope="module", params=[_alike, _of_two_kinds])
def teacher(request: pytest.FixtureRequest, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with one layer that adds nothing to what passes through it."""
    make: Callable[[Path], Any] = request.param
    model = make(tiny_llama)
    layer = model.model.layers[_IDLE]
    nn.init.zeros_(layer.self_attn.o_proj.weight)
    nn.init.zeros_(layer.mlp.down_proj.weight)
    folder = tmp_path_factory.mktemp("teacher")
    model.save_pretrained(folder)
    return folder


def _load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()


def _without(folder: Path, gone: Sequence[int]) -> Any:
    """The model as it would be without these layers."""
    model = _load(folder)
    left = [j for j in range(len(model.model.layers)) if j not in gone]
    model.model.layers = nn.ModuleList(model.model.layers[j] for j in left)
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = [model.config.layer_types[j] for j in left]
    model.config.num_hidden_layers = len(left)
    return model


def _whole(examples: Sequence[TrainExample]) -> int:
    return max(len(e.token_ids) for e in examples)


def _left(layers: int, tokens: int) -> PrunedStudent:
    """Measured over so many tokens of each row: fewer than a recipe may ask for, as these answers are short."""
    return PrunedStudent(kind="pruned", teacher="main", layers=layers).model_copy(update={"calibration_tokens": tokens})


def _logprobs(model: Any, examples: Sequence[TrainExample]) -> Tensor:
    with torch.inference_mode():
        return logprobs_of(model, collate(examples, {}))


def test_the_idle_layer_goes_first_and_the_saved_model_loads(
    teacher: Path, talk: list[TrainExample], tmp_path: Path
) -> None:
    told: list[int] = []
    pruned, removed = prune(teacher, _left(3, _whole(talk)), talk, told.append)
    assert removed == [(_IDLE, 0.0)]
    assert told == [1]
    pruned.save_pretrained(tmp_path)
    loaded = _load(tmp_path)
    assert loaded.config.num_hidden_layers == len(loaded.model.layers) == 3
    assert torch.equal(_logprobs(loaded, talk), _logprobs(_load(teacher), talk))


def test_each_removal_is_the_least_harmful_of_those_left(teacher: Path, talk: list[TrainExample]) -> None:
    pruned, removed = prune(teacher, _left(2, _whole(talk)), talk, lambda _: None)
    # The second removal, with models built without these layers from the start.
    wanted_NV = _logprobs(_load(teacher), talk)
    without = {gone: _logprobs(_without(teacher, [_IDLE, gone]), talk) for gone in (0, 2, 3)}
    harm = {gone: float((wanted_NV.exp() * (wanted_NV - got)).sum(1).mean()) for gone, got in without.items()}
    least = min(harm, key=lambda gone: harm[gone])
    assert removed == [(_IDLE, 0.0), (least, pytest.approx(harm[least], rel=1e-2))]
    assert harm[least] > 0.01
    torch.testing.assert_close(_logprobs(pruned, talk), without[least], atol=0.1, rtol=0)  # bf16, other attention


def test_named_layers_go_in_their_order_without_a_search(teacher: Path, talk: list[TrainExample]) -> None:
    config = PrunedStudent(kind="pruned", teacher="main", remove=(3, 0), calibration_tokens=_whole(talk))
    pruned, removed = prune(teacher, config, talk, lambda _: None)
    without = _logprobs(_without(teacher, [0, 3]), talk)
    wanted_NV = _logprobs(_load(teacher), talk)
    harm = float((wanted_NV.exp() * (wanted_NV - without)).sum(1).mean())
    assert [layer for layer, _ in removed] == [3, 0]
    assert removed[1][1] == pytest.approx(harm, rel=1e-2)
    torch.testing.assert_close(_logprobs(pruned, talk), without, atol=0.1, rtol=0)


@pytest.mark.parametrize("choice", [{}, {"layers": 2, "remove": [1]}, {"remove": [1, 1]}, {"remove": []}])
def test_one_way_of_choosing_layers_is_needed(choice: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PrunedStudent(kind="pruned", teacher="main", **choice)


def test_only_the_first_tokens_of_an_answer_are_measured(teacher: Path, talk: list[TrainExample]) -> None:
    def shortened(example: TrainExample) -> TrainExample:
        stop = example.weights.index(1.0) + 2
        return TrainExample(example.id, "", "", "answer", example.token_ids[:stop], example.weights[:stop])

    talk = talk[:3]
    _, measured = prune(teacher, _left(2, 2), talk, lambda _: None)
    _, cut_by_hand = prune(teacher, _left(2, 100), [shortened(e) for e in talk], lambda _: None)
    _, whole = prune(teacher, _left(2, _whole(talk)), talk, lambda _: None)
    assert measured == cut_by_hand
    assert measured != whole
