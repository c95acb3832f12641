"""What influence is compared with: each by hand, and the same for a row whatever others there are."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from pipelines.core.records import TrainExample
from pipelines.influence import baselines

Trained = Callable[..., Any]
Nll = Callable[[Any, TrainExample], Tensor]
EXAMPLE = TrainExample("", "", "", "answer", (11, 12, 13, 14, 15), (0.0, 0.0, 0.0, 1.0, 0.5))


def test_an_answer_alone_keeps_the_token_that_its_first_is_predicted_from() -> None:
    alone = baselines.answer_alone(EXAMPLE)
    assert alone.token_ids == (13, 14, 15)
    assert alone.weights == (0.0, 1.0, 0.5)


def test_loss_and_difficulty_are_means_over_the_answer(
    trained: Trained, rows: list[TrainExample], nll_by_hand: Nll
) -> None:
    model = trained().warm().model
    for example in (EXAMPLE, *rows[:3]):
        with_it, without = (nll_by_hand(model, e).item() for e in (example, baselines.answer_alone(example)))
        assert baselines.loss(model, example) == pytest.approx(with_it, rel=1e-5)
        assert baselines.difficulty(model, example) == pytest.approx(with_it / without, rel=1e-5)


def test_chance_is_seeded_row_by_row(rows: list[TrainExample]) -> None:
    drawn = [baselines.chance(row, seed=1) for row in rows]
    assert drawn == [baselines.chance(row, seed=1) for row in reversed(rows)][::-1]
    assert len(set(drawn)) == len(rows)
    assert all(0 < value < 1 for value in drawn)
    assert drawn != [baselines.chance(row, seed=2) for row in rows]
