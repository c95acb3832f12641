"""Pruning finds the layer that does nothing, measures harm as a whole run would, and leaves a model that loads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipelines.core.records import TrainExample
from pipelines.train.batches import collate
from pipelines.train.prune import prune
from pipelines.train.step import logprobs_of

_IDLE = 2


@pytest.fixture(scope="module")
def teacher(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with one layer that adds nothing to what passes through it."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.bfloat16)
    layer = model.model.layers[_IDLE]
    nn.init.zeros_(layer.self_attn.o_proj.weight)
    nn.init.zeros_(layer.mlp.down_proj.weight)
    folder = tmp_path_factory.mktemp("teacher")
    model.save_pretrained(folder)
    return folder


def _whole(examples: Sequence[TrainExample]) -> int:
    return max(len(e.token_ids) for e in examples)


def _logprobs(model: Any, examples: Sequence[TrainExample]) -> Tensor:
    with torch.inference_mode():
        return logprobs_of(model.eval(), collate(examples, {}))


def test_the_idle_layer_goes_first_and_the_saved_model_loads(
    teacher: Path, talk: list[TrainExample], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    told: list[int] = []
    pruned, removed = prune(teacher, 3, talk, _whole(talk), told.append)
    assert removed == [(_IDLE, 0.0)]
    assert told == [1]
    pruned.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert loaded.config.num_hidden_layers == len(loaded.model.layers) == 3
    original = AutoModelForCausalLM.from_pretrained(teacher, dtype=torch.bfloat16)
    assert torch.equal(_logprobs(loaded, talk), _logprobs(original, talk))


def test_each_removal_is_the_least_harmful_of_those_left(teacher: Path, talk: list[TrainExample]) -> None:
    from transformers import AutoModelForCausalLM

    pruned, removed = prune(teacher, 2, talk, _whole(talk), lambda _: None)
    # The second removal, with models built without these layers from the start.
    original = AutoModelForCausalLM.from_pretrained(teacher, dtype=torch.bfloat16)
    wanted_NV = _logprobs(original, talk)
    harm: dict[int, float] = {}
    for gone in (0, 1, 3):
        shorter = AutoModelForCausalLM.from_pretrained(teacher, dtype=torch.bfloat16)
        shorter.model.layers = nn.ModuleList(m for j, m in enumerate(shorter.model.layers) if j not in (_IDLE, gone))
        shorter.config.num_hidden_layers = 2
        got_NV = _logprobs(shorter, talk)
        harm[gone] = float((wanted_NV.exp() * (wanted_NV - got_NV)).sum(1).mean())
        if gone == removed[1][0]:
            assert torch.equal(_logprobs(pruned, talk), got_NV)
    assert removed[1][0] == min(harm, key=lambda gone: harm[gone])
    assert removed[1][1] == pytest.approx(harm[removed[1][0]], abs=1e-5)
    assert removed[1][1] > 0.01


def test_only_the_first_tokens_of_an_answer_are_measured(teacher: Path, talk: list[TrainExample]) -> None:
    def shortened(example: TrainExample) -> TrainExample:
        stop = example.weights.index(1.0) + 2
        return TrainExample(example.id, "", "", "answer", example.token_ids[:stop], example.weights[:stop])

    _, measured = prune(teacher, 2, talk, 2, lambda _: None)
    _, cut_by_hand = prune(teacher, 2, [shortened(e) for e in talk], 100, lambda _: None)
    _, whole = prune(teacher, 2, talk, _whole(talk), lambda _: None)
    assert measured == cut_by_hand
    assert measured != whole
