"""How losses are summed and counted: numbers worked by hand, and accumulation that changes nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.core.records import SoftTargets, TrainExample
from pipelines.train.batches import collate
from pipelines.train.step import Normalise, counts, logprobs_of, loss_sums, objective

# Two examples; the first token of each is the prompt.
_SHORT = TrainExample("short", "", "", "answer", (0, 0, 0), (0.0, 1.0, 0.5))
_LONG = TrainExample("long", "", "", "answer", (0, 0, 0, 0), (0.0, 1.0, 1.0, 1.0))
_LOSSES = (1.0, 2.0, 3.0, 4.0, 5.0)  # of the five weighted tokens, in order


def _objective(
    examples: Sequence[TrainExample],
    logprobs_NV: Tensor,
    normalise: Normalise,
    coefficients: Mapping[str, float],
    signals: Mapping[str, SoftTargets] | None = None,
) -> float:
    kd = "kd" in coefficients
    sums = loss_sums(logprobs_NV, collate(examples, signals or {}), normalise, kd)
    return objective(sums, counts(examples, signals or {}, normalise, kd), coefficients).item()


@pytest.mark.parametrize(
    ("normalise", "by_hand"),
    [
        # (1·1 + 0.5·2 + 3 + 4 + 5) / 5 tokens = 14 / 5. Divided by the weights' sum, 4.5, it would be 3.11.
        ("global_token", 2.8),
        # Means of the examples, each over its number of tokens: (1 + 0.5·2)/2 = 1 and (3 + 4 + 5)/3 = 4.
        ("per_example", 2.5),
    ],
)
def test_a_step_divides_by_counts_and_never_by_weights(normalise: Normalise, by_hand: float) -> None:
    logprobs_NV = -torch.tensor(_LOSSES)[:, None]  # of the one token that there is
    assert _objective([_SHORT, _LONG], logprobs_NV, normalise, {"answer": 1.0}) == pytest.approx(by_hand)
    assert _objective([_SHORT, _LONG], logprobs_NV, normalise, {"answer": 3.0}) == pytest.approx(3 * by_hand)


@pytest.mark.parametrize(("normalise", "divisor"), [("global_token", 2), ("per_example", 2 * 1)])
def test_distillation_counts_only_where_there_is_a_signal(
    normalise: Normalise, divisor: int, teach: Callable[[TrainExample, Tensor, int], SoftTargets]
) -> None:
    # The teacher says (3/4, 1/4), the student (1/2, 1/2): KL = ln 2 + 3/4·ln 3/4 + 1/4·ln 1/4 = 0.13081 a token,
    # on the short example's two tokens, of weight 1 and 0.5. per_example: its mean over 2 tokens, of 1 example.
    teacher_PV = torch.tensor([[0.75, 0.25]] * 2).log()
    student_NV = torch.tensor([[0.5, 0.5]] * 5).log()
    signals = {_SHORT.id: teach(_SHORT, teacher_PV, 2)}
    value = _objective([_SHORT, _LONG], student_NV, normalise, {"kd": 1.0}, signals)
    assert value == pytest.approx(1.5 * 0.13081 / divisor, rel=5e-3)  # the signal is stored in half precision


def test_components_meet_by_their_coefficients(teach: Callable[[TrainExample, Tensor, int], SoftTargets]) -> None:
    student_NV = torch.tensor([[0.5, 0.5]] * 5).log()
    signals = {e.id: teach(e, torch.tensor([[0.75, 0.25]] * n).log(), 2) for e, n in ((_SHORT, 2), (_LONG, 3))}
    both = [_SHORT, _LONG]
    answer = _objective(both, student_NV, "global_token", {"answer": 1.0}, signals)
    kd = _objective(both, student_NV, "global_token", {"kd": 1.0}, signals)
    mixed = _objective(both, student_NV, "global_token", {"answer": 0.25, "kd": 2.0}, signals)
    assert mixed == pytest.approx(0.25 * answer + 2 * kd)


@pytest.mark.parametrize("normalise", ["global_token", "per_example"])
def test_two_batches_of_two_give_the_gradient_of_one_batch_of_four(
    normalise: Normalise,
    model: Any,
    talk: list[TrainExample],
    guesses: Callable[[int, int, int], Tensor],
    teach: Callable[[TrainExample, Tensor, int], SoftTargets],
) -> None:
    four = talk[:4]
    vocabulary = model.config.vocab_size
    # Three of the four have a signal, so the halves count differently.
    signals = {e.id: teach(e, guesses(sum(w > 0 for w in e.weights), vocabulary, 3), 8) for e in four[:3]}
    total = counts(four, signals, normalise, kd=True)

    def gradient(batches: Sequence[Sequence[TrainExample]]) -> Tensor:
        model.zero_grad()
        for examples in batches:
            batch = collate(examples, signals)
            sums = loss_sums(logprobs_of(model, batch), batch, normalise, kd=True)
            objective(sums, total, {"answer": 0.5, "kd": 1.0}).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    whole = gradient([four])
    assert whole.abs().max() > 1e-2
    torch.testing.assert_close(gradient([four[:2], four[2:]]), whole, atol=1e-6, rtol=1e-5)
