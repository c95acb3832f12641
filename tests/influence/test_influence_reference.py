"""The reference loss and its gradient: those of the examples one by one, whatever the packs and weights."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.core.errors import UserError
from pipelines.core.records import TrainExample
from pipelines.influence import reference
from pipelines.influence.reference import Reference

Trained = Callable[..., Any]
Nll = Callable[[Any, TrainExample], Tensor]


def _by_hand(model: Any, examples: list[TrainExample], normalise: str, nll_by_hand: Nll) -> Tensor:
    means_E = torch.stack([nll_by_hand(model, example) for example in examples])
    counts_E = torch.tensor([sum(weight > 0 for weight in example.weights) for example in examples])
    return means_E.mean() if normalise == "per_example" else (means_E * counts_E).sum() / counts_E.sum()


@pytest.mark.parametrize("tokens_per_pack", [1024, 64])
@pytest.mark.parametrize("normalise", ["global_token", "per_example"])
def test_loss_and_gradient_are_those_of_the_examples_one_by_one(
    normalise: Any, tokens_per_pack: int, trained: Trained, wanted: list[TrainExample], nll_by_hand: Nll,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(reference, "TOKENS_PER_PACK", tokens_per_pack)
    student = trained()
    warm, asked = student.warm(), Reference(wanted, normalise)
    loss = _by_hand(student.model, wanted, normalise, nll_by_hand)
    loss.backward()
    assert asked.loss(warm.model) == pytest.approx(loss.item(), abs=1e-6)
    found = asked.gradient(warm.model, warm.trained)
    for name, parameter in student.model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-6, rtol=1e-4, msg=name)
    assert all(parameter.grad is None for parameter in warm.model.parameters())


def test_weights_only_say_which_tokens_count(trained: Trained, wanted: list[TrainExample]) -> None:
    model = trained().warm().model
    halved = [replace(e, weights=tuple(weight / 2 for weight in e.weights)) for e in wanted]
    assert Reference(halved, "global_token").loss(model) == Reference(wanted, "global_token").loss(model)


def test_the_noise_is_what_rounding_does(trained: Trained, wanted: list[TrainExample]) -> None:
    model, asked = trained().warm().model, Reference(wanted, "global_token")
    eps = torch.finfo(torch.float32).eps
    loss = asked.loss(model)
    # Six examples: were all of one size, what is resolved would be eps·loss/√6.
    assert eps * loss / 6**0.5 <= asked.noise(model) < 10 * eps * loss


def test_a_set_that_says_nothing_is_refused(wanted: list[TrainExample]) -> None:
    with pytest.raises(UserError, match="empty"):
        Reference([], "global_token")
    mute = replace(wanted[0], id="mute", weights=(0.0,) * len(wanted[0].weights))
    with pytest.raises(UserError, match=r"1 reference examples, mute first, .* leave them out"):
        Reference([*wanted, mute], "global_token")
