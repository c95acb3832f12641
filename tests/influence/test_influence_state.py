"""The state that training leaves: one more step from it is AdamW's own, and no step leaves a trace."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.core.config import LoRA
from pipelines.core.errors import UserError
from pipelines.core.records import TrainExample
from pipelines.influence.state import Warm
from pipelines.train import lora
from pipelines.train.attention import load

EMBEDDING = "model.embed_tokens.weight"
Trained = Callable[..., Any]
Nll = Callable[[Any, TrainExample], Tensor]


def _bits(warm: Warm) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in warm.model.state_dict().items()}


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("is_null", [False, True])
def test_a_step_is_the_one_that_torch_would_make(
    decay: float, is_null: bool, trained: Trained, rows: list[TrainExample], nll_by_hand: Nll
) -> None:
    student = trained(rate=1e-3, decay=decay)
    warm = student.warm()
    nll_by_hand(student.model, rows[0]).backward()
    if is_null:
        for parameter in student.model.parameters():
            parameter.grad.zero_()
    gradients = {name: p.grad.clone() for name, p in student.model.named_parameters()}
    before = {name: p.detach().clone() for name, p in student.model.named_parameters()}
    deltas = warm.step(None if is_null else gradients)
    student.optimizer.step()
    assert deltas.keys() == before.keys()
    for name, parameter in student.model.named_parameters():
        moved = parameter.detach() - before[name]
        assert moved.abs().max() > 1e-4, name  # a step was made at all
        torch.testing.assert_close(deltas[name], moved, atol=1e-6, rtol=0, msg=name)


def test_a_step_changes_nothing_and_an_applied_one_goes_back_to_the_same_bits(trained: Trained) -> None:
    warm = trained(rate=1e-3, decay=0.1).warm()
    before, first = _bits(warm), warm.step(None)
    assert _same(_bits(warm), before)
    with warm.applied(first):
        moved = _bits(warm)
    assert not _same(moved, before)
    assert _same(_bits(warm), before)
    assert _same(dict(warm.step(None)), dict(first))  # the moments are the same, too

    def fail() -> None:
        with warm.applied(first):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert _same(_bits(warm), before)


def test_the_weights_are_the_masters_and_not_the_rounded_ones(trained: Trained) -> None:
    student = trained()
    warm, rounded = student.warm(), dict(load(student.stage / "model", torch.float32).named_parameters())
    for name, master in student.model.named_parameters():
        assert torch.equal(warm.trained[name], master), name
        assert warm.trained[name].dtype == torch.float32
    assert not torch.equal(rounded[EMBEDDING], warm.trained[EMBEDDING])


def test_what_was_not_trained_stays_as_it_is(trained: Trained) -> None:
    warm = trained(frozen=[EMBEDDING]).warm()
    assert EMBEDDING not in warm.trained
    assert warm.step(None).keys() == warm.trained.keys()
    assert [name for name, p in warm.model.named_parameters() if not p.requires_grad] == [EMBEDDING]


def test_of_a_student_that_does_not_fit_every_second_layer_is_stepped(trained: Trained) -> None:
    student = trained(rate=1e-3)
    whole, top = student.warm(), Warm.read(student.stage, every_layer=2)
    assert set(top.trained) == {name for name in whole.trained if ".layers.1." in name or ".layers.3." in name}
    deltas, others = whole.step(None), top.step(None)
    assert all(torch.equal(deltas[name], others[name]) for name in top.trained)
    untouched = trained(rate=1e-3, frozen=list(top.trained))
    with pytest.raises(UserError, match="left every layer as it was"):
        Warm.read(untouched.stage, every_layer=2)


def test_of_adapters_the_model_is_the_exported_one_and_only_they_are_stepped(
    trained: Trained, rows: list[TrainExample], nll_by_hand: Nll
) -> None:
    student = trained(rate=1e-2, adapters=LoRA(rank=4, alpha=8))
    warm, exported = student.warm(), load(student.stage / "model", torch.float32)
    assert warm.trained.keys() == {name for name, p in student.model.named_parameters() if p.requires_grad}
    assert all(".lora_" in name for name in warm.trained)
    with torch.no_grad():
        loss, alone = float(nll_by_hand(warm.model, rows[0])), float(nll_by_hand(exported, rows[0]))
        assert loss == pytest.approx(alone, abs=1e-4)
        lora.take_out(warm.model)  # twice as much as there is
        assert abs(float(nll_by_hand(warm.model, rows[0])) - alone) > 1e-2
    nll_by_hand(student.model, rows[0]).backward()
    gradients = {name: student.model.get_parameter(name).grad.clone() for name in warm.trained}
    before = {name: student.model.get_parameter(name).detach().clone() for name in warm.trained}
    deltas = warm.step(gradients)
    student.optimizer.step()
    for name in warm.trained:
        moved = student.model.get_parameter(name).detach() - before[name]
        assert moved.abs().max() > 1e-4, name
        torch.testing.assert_close(deltas[name], moved, atol=1e-6, rtol=0, msg=name)


@pytest.mark.parametrize("file", ["optimizer.json", "exp_avg.safetensors"])
def test_a_student_without_its_moments_is_refused(file: str, trained: Trained) -> None:
    stage = trained().stage
    (stage / "warm" / file).unlink()
    with pytest.raises(UserError, match=rf"lacks {file}; train the student with `student.train.warm: true`"):
        Warm.read(stage)


def test_moments_of_some_weights_only_are_refused(trained: Trained) -> None:
    from safetensors.torch import load_file, save_file

    stage = trained().stage
    moments = load_file(stage / "warm" / "exp_avg_sq.safetensors")
    del moments[EMBEDDING]
    save_file(moments, stage / "warm" / "exp_avg_sq.safetensors")
    with pytest.raises(UserError, match=f"lacks the master or a moment of {EMBEDDING}"):
        Warm.read(stage)


def test_a_state_of_another_model_is_refused(trained: Trained) -> None:
    student = trained()
    student.model.resize_token_embeddings(16)
    student.model.save_pretrained(student.stage / "model")
    with pytest.raises(UserError, match=f"are of two students, as {EMBEDDING} shows"):
        Warm.read(student.stage)


def test_a_rate_that_fell_to_nothing_is_refused(trained: Trained) -> None:
    stage = trained().stage
    settings = json.loads((stage / "warm" / "optimizer.json").read_text())
    (stage / "warm" / "optimizer.json").write_text(json.dumps(settings | {"lr": 0.0}))
    with pytest.raises(UserError, match="`schedule: ramp`"):
        Warm.read(stage)
