"""Attention maps compared: by hand, against transformers' eager attention, and what cannot be compared."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.core.config import Train
from pipelines.core.records import TrainExample
from pipelines.train.attention import Looked, load
from pipelines.train.batches import collate
from pipelines.train.learner import Learner
from pipelines.train.losses import attention_maps
from pipelines.train.losses.attention_maps import attention_kl
from pipelines.train.references import Companions

CONFIG = Train(losses={"attention": 1.0})


@pytest.fixture(scope="module")
def models(tiny_llama: Path) -> tuple[Any, Any]:
    """(student, teacher): of one shape, with different weights."""
    student, teacher = load(tiny_llama, torch.float32), load(tiny_llama, torch.float32)
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return student, teacher.requires_grad_(False)


def _looked(scores_TT: list[list[float]]) -> Looked:
    """One layer of one head that scores so: queries are the rows, keys the unit vectors."""
    query_TD = torch.tensor(scores_TT)
    return Looked(query_TD[None, None], torch.eye(len(query_TD))[None, None], 1.0)


def test_a_row_by_hand() -> None:
    # The second token looks at two keys with (3/4, 1/4), the student with (1/2, 1/2); later keys count for nobody.
    teacher, student = torch.tensor([0.75, 0.25]).log(), torch.tensor([0.5, 0.5]).log()
    mine = _looked([[0.0, 9.0], student.tolist()])
    theirs = _looked([[0.0, -9.0], teacher.tolist()])
    batch = collate([TrainExample("e", "", "", "answer", (1, 2), (0.0, 1.0))], {})
    weights_N = torch.tensor([2.0])
    by_hand = 0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()  # 0.13081
    assert attention_kl([mine], [theirs], batch, torch.tensor([1]), weights_N).item() == pytest.approx(2 * by_hand)
    assert attention_kl([mine], [theirs], batch, torch.tensor([0]), weights_N).item() == pytest.approx(0, abs=1e-6)


def _eager(folder_model: Any, example: TrainExample, tiny_llama: Path) -> Tensor:
    """Attention maps [layers, heads, T, T] by transformers itself."""
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32, attn_implementation="eager")
    plain.load_state_dict(folder_model.state_dict())
    return torch.cat(plain(input_ids=torch.tensor([example.token_ids]), output_attentions=True).attentions)


@pytest.mark.parametrize("unshifted", [False, True])
@pytest.mark.parametrize("at_once", [attention_maps.SCORES_AT_ONCE, 300])
def test_losses_and_gradients_are_those_of_transformers_maps(
    unshifted: bool,
    at_once: int,
    models: tuple[Any, Any],
    talk: list[TrainExample],
    tiny_llama: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention_maps, "SCORES_AT_ONCE", at_once)
    student, teacher = models
    config = CONFIG.model_copy(update={"unshifted": unshifted})
    batch = collate(talk[:3], {})
    sums = Learner(student, config).sums(batch, Companions(config, teacher, None, None).read(batch))
    student.zero_grad()
    sums["attention"].backward()
    name = "model.layers.1.self_attn.q_proj.weight"
    gradient = student.get_parameter(name).grad.clone()

    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32, attn_implementation="eager")
    wanted = torch.zeros(())
    for example in talk[:3]:
        mine = torch.cat(plain(input_ids=torch.tensor([example.token_ids]), output_attentions=True).attentions)
        theirs = _eager(teacher, example, tiny_llama).detach()
        rows = [t if unshifted else t - 1 for t, weight in enumerate(example.weights) if weight]
        seen = torch.ones(mine.shape[-1], mine.shape[-1]).tril()[rows].bool()
        logs = theirs[:, :, rows].clamp_min(1e-30).log() - mine[:, :, rows].clamp_min(1e-30).log()
        kl = (theirs[:, :, rows] * logs * seen).sum(-1)
        wanted = wanted + kl.mean((0, 1)).sum()
    wanted.backward()
    assert wanted > 0.01
    torch.testing.assert_close(sums["attention"], wanted, atol=1e-5, rtol=1e-4)
    wanted_gradient = plain.get_parameter(name).grad
    torch.testing.assert_close(gradient, wanted_gradient, atol=1e-4 * float(wanted_gradient.abs().max()), rtol=1e-3)


def test_a_weight_that_underflows_costs_much_and_not_everything() -> None:
    mine, theirs = _looked([[0.0, 0.0], [300.0, 0.0]]), _looked([[0.0, 0.0], [0.0, 0.0]])
    batch = collate([TrainExample("e", "", "", "answer", (1, 2), (0.0, 1.0))], {})
    value = attention_kl([mine], [theirs], batch, torch.tensor([1]), torch.ones(1))
    assert value.item() == pytest.approx(150 - torch.tensor(2.0).log().item(), rel=1e-5)  # 0.5·300 - ln 2


def test_what_cannot_be_compared_is_said_in_words() -> None:
    one, batch = _looked([[0.0]]), collate([TrainExample("e", "", "", "answer", (1, 2), (0.0, 1.0))], {})
    for mine, theirs, words in (
        ([one], [one, one], "the student has 1 layers of 1 heads and its teacher 2 layers of 1 heads"),
        ([], [one], "keeps its own attention"),
    ):
        with pytest.raises(ValueError, match=words):
            attention_kl(mine, theirs, batch, torch.tensor([1]), torch.ones(1))
