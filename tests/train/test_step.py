"""How losses are summed and counted: numbers worked by hand, and accumulation that changes nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.core.config import Train
from pipelines.core.records import SoftTargets, TrainExample
from pipelines.train.batches import collate
from pipelines.train.learner import Learner
from pipelines.train.references import Companions
from pipelines.train.step import counts, objective

Sums = Callable[..., dict[str, Tensor]]
Teach = Callable[[TrainExample, Tensor, int], SoftTargets]

# Two examples; the first token of each is the prompt.
_SHORT = TrainExample("short", "", "", "answer", (0, 0, 0), (0.0, 1.0, 0.5))
_LONG = TrainExample("long", "", "", "answer", (0, 0, 0, 0), (0.0, 1.0, 1.0, 1.0))
_LOSSES = (1.0, 2.0, 3.0, 4.0, 5.0)  # of the five weighted tokens, in order


@pytest.fixture
def objective_of(sums_of: Sums) -> Callable[..., float]:
    """What a step minimises over some examples."""

    def make(
        examples: Sequence[TrainExample],
        logprobs_NV: Tensor,
        config: Train,
        signals: Mapping[str, SoftTargets] | None = None,
    ) -> float:
        sums = sums_of(logprobs_NV, examples, signals or {}, config)
        return objective(sums, counts(examples, signals or {}, config), config.losses).item()

    return make


@pytest.mark.parametrize(
    ("normalise", "by_hand"),
    [
        # (1·1 + 0.5·2 + 3 + 4 + 5) / 5 tokens = 14 / 5. Divided by the weights' sum, 4.5, it would be 3.11.
        ("global_token", 2.8),
        # Means of the examples, each over its number of tokens: (1 + 0.5·2)/2 = 1 and (3 + 4 + 5)/3 = 4.
        ("per_example", 2.5),
    ],
)
def test_a_step_divides_by_counts_and_never_by_weights(
    normalise: Any, by_hand: float, objective_of: Callable[..., float]
) -> None:
    logprobs_NV = -torch.tensor(_LOSSES)[:, None]  # of the one token that there is
    for coefficient in (1.0, 3.0):
        config = Train(normalise=normalise, losses={"answer": coefficient})
        assert objective_of([_SHORT, _LONG], logprobs_NV, config) == pytest.approx(coefficient * by_hand)


@pytest.mark.parametrize(("normalise", "divisor"), [("global_token", 2), ("per_example", 2 * 1)])
def test_distillation_counts_only_where_there_is_a_signal(
    normalise: Any, divisor: int, teach: Teach, objective_of: Callable[..., float]
) -> None:
    # The teacher says (3/4, 1/4), the student (1/2, 1/2): KL = ln 2 + 3/4·ln 3/4 + 1/4·ln 1/4 = 0.13081 a token,
    # on the short example's two tokens, of weight 1 and 0.5. per_example: its mean over 2 tokens, of 1 example.
    teacher_PV = torch.tensor([[0.75, 0.25]] * 2).log()
    student_NV = torch.tensor([[0.5, 0.5]] * 5).log()
    signals = {_SHORT.id: teach(_SHORT, teacher_PV, 2)}
    config = Train(normalise=normalise, losses={"kd": 1.0})
    value = objective_of([_SHORT, _LONG], student_NV, config, signals)
    assert value == pytest.approx(1.5 * 0.13081 / divisor, rel=5e-3)  # the signal is stored in half precision


def test_what_a_model_beside_the_student_says_counts_everywhere() -> None:
    losses: Any = {"answer": 1.0, "kd": 1.0, "attention": 1.0, "base_kl": 1.0}
    online = Train(losses=losses, kd={"source": "online"})  # type: ignore[arg-type]
    assert counts([_SHORT, _LONG], {}, online) == dict.fromkeys(losses, 5)
    assert counts([_SHORT, _LONG], {}, online.model_copy(update={"normalise": "per_example"})) == dict.fromkeys(
        losses, 2
    )


def test_components_meet_by_their_coefficients(teach: Teach, objective_of: Callable[..., float]) -> None:
    student_NV = torch.tensor([[0.5, 0.5]] * 5).log()
    signals = {e.id: teach(e, torch.tensor([[0.75, 0.25]] * n).log(), 2) for e, n in ((_SHORT, 2), (_LONG, 3))}
    answer, kd, mixed = (
        objective_of([_SHORT, _LONG], student_NV, Train(losses=losses), signals)
        for losses in ({"answer": 1.0}, {"kd": 1.0}, {"answer": 0.25, "kd": 2.0})
    )
    assert mixed == pytest.approx(0.25 * answer + 2 * kd)


@pytest.mark.parametrize("normalise", ["global_token", "per_example"])
def test_two_batches_of_two_give_the_gradient_of_one_batch_of_four(
    normalise: Any,
    model: Any,
    talk: list[TrainExample],
    guesses: Callable[[int, int, int], Tensor],
    teach: Teach,
) -> None:
    four = talk[:4]
    vocabulary = model.config.vocab_size
    # Three of the four have a signal, so the halves count differently.
    signals = {e.id: teach(e, guesses(sum(w > 0 for w in e.weights), vocabulary, 3), 8) for e in four[:3]}
    config = Train(normalise=normalise, losses={"answer": 0.5, "kd": 1.0})
    learner, companions = Learner(model, config), Companions(config, None, None, None)
    total = counts(four, signals, config)

    def gradient(batches: Sequence[Sequence[TrainExample]]) -> Tensor:
        model.zero_grad()
        for examples in batches:
            batch = collate(examples, signals)
            objective(learner.sums(batch, companions.read(batch)), total, config.losses).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    whole = gradient([four])
    assert whole.abs().max() > 1e-2
    torch.testing.assert_close(gradient([four[:2], four[2:]]), whole, atol=1e-6, rtol=1e-5)
