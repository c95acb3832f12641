"""Influence: exact is what a copy of the model shows, first order agrees, and no row leaves a trace for the next."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.core.config import LoRA
from pipelines.core.errors import UserError
from pipelines.core.records import Dropped, Influence, TrainExample
from pipelines.influence import sampled
from pipelines.influence.agreement import agreement
from pipelines.influence.nats import gradient, nats
from pipelines.influence.probe import BaselineMoved, Probe
from pipelines.influence.reference import Reference
from pipelines.influence.state import AdamW, Warm
from pipelines.train.batches import collate

Trained = Callable[..., Any]
Nll = Callable[[Any, TrainExample], Tensor]


def _probe(warm: Warm, wanted: list[TrainExample]) -> Probe:
    return Probe(warm, Reference(wanted, "per_example"))


def _stepped(student: Any, loss: Callable[[Any], Tensor]) -> Any:
    """A copy of the model after torch's next step on this loss."""
    model, optimizer = deepcopy((student.model, student.optimizer))
    loss(model).backward()
    optimizer.step()
    return model


def _garbled(row: TrainExample) -> TrainExample:
    """The same with an answer of random tokens, which no student should learn."""
    random = Random(row.id)
    ids = tuple(random.randrange(400) if weight else id for id, weight in zip(row.token_ids, row.weights, strict=True))
    return replace(row, id=f"garbled {row.id}", token_ids=ids)


def test_exact_is_what_a_copy_of_the_model_shows(
    trained: Trained, wanted: list[TrainExample], rows: list[TrainExample], nll_by_hand: Nll
) -> None:
    student = trained(rate=1e-3)

    def loss_after(loss: Callable[[Any], Tensor]) -> float:
        stepped = _stepped(student, loss)
        with torch.no_grad():
            return float(torch.stack([nll_by_hand(stepped, example) for example in wanted]).double().mean())

    null_step = loss_after(lambda model: 0 * nll_by_hand(model, rows[0]))
    probe = _probe(student.warm(), wanted)
    assert probe.null_step == pytest.approx(null_step, abs=2e-6)
    for row in rows[:3]:
        found = probe.exact(row)
        after = loss_after(lambda model, row=row: nll_by_hand(model, row))
        assert isinstance(found, Influence)
        assert abs(found.influence) > 1e-4
        assert found.influence == pytest.approx(null_step - after, abs=4e-6)
        assert found.after == pytest.approx(after, abs=2e-6)
        with torch.no_grad():
            own = float(nll_by_hand(student.model, row))
        assert found.own_loss == pytest.approx(own, abs=1e-5)
        assert [told.own_loss for told in (probe.first_order(row), probe.sampled(row))] == [found.own_loss] * 2  # type: ignore[union-attr]
        assert (found.row_id, found.null_step, found.before) == (row.id, probe.null_step, probe.before)
        assert 0 < found.noise < 1e-5


def test_first_order_says_what_exact_does(
    trained: Trained, wanted: list[TrainExample], rows: list[TrainExample]
) -> None:
    probe = _probe(trained(rate=1e-4).warm(), wanted)
    asked = [*rows, *map(_garbled, rows)]
    exact, told = ([way(row).influence for row in asked] for way in (probe.exact, probe.first_order))  # type: ignore[union-attr]
    agreed = agreement(told, exact)
    assert agreed.spearman >= 0.9
    assert agreed.pearson >= 0.99
    assert agreed.same_sign >= 0.9
    assert min(exact) < -probe.noise < probe.noise < max(exact)  # rows of both kinds


def test_of_adapters_all_methods_agree(trained: Trained, wanted: list[TrainExample], rows: list[TrainExample]) -> None:
    """Also the sample, which takes one row in 8 of some matrices and one in 16 of the others."""
    probe = _probe(trained(rate=1e-3, adapters=LoRA(rank=8)).warm(), wanted)
    asked = [*rows, *map(_garbled, rows)]
    exact, told, part = (
        [way(row).influence for row in asked]  # type: ignore[union-attr]
        for way in (probe.exact, probe.first_order, probe.sampled)
    )
    probe.check()
    assert agreement(told, exact).spearman >= 0.9
    assert agreement(part, told).spearman >= 0.8


def test_a_sample_of_all_weights_is_the_whole_of_the_matrices(
    trained: Trained, wanted: list[TrainExample], rows: list[TrainExample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every row taken it is first order, of a student of which nothing else is trained."""
    monkeypatch.setattr(sampled, "SHARE", 1)
    others = [name for name, p in trained().model.named_parameters() if "_proj" not in name]
    probe = _probe(trained(frozen=others).warm(), wanted)
    for row in rows[:3]:
        one, other = probe.sampled(row), probe.first_order(row)
        assert isinstance(one, Influence)
        assert isinstance(other, Influence)
        assert one.influence == pytest.approx(other.influence, rel=1e-3, abs=1e-8)


def test_a_sample_ranks_rows_as_the_whole_does(
    trained: Trained, wanted: list[TrainExample], rows: list[TrainExample]
) -> None:
    probe = _probe(trained(rate=1e-4).warm(), wanted)
    asked = [*rows, *map(_garbled, rows)]
    whole, part = ([way(row).influence for row in asked] for way in (probe.first_order, probe.sampled))  # type: ignore[union-attr]
    assert agreement(part, whole).spearman >= 0.8  # of matrices of 64 rows, of which 4 are taken


@pytest.mark.parametrize("method", ["exact", "first_order", "sampled"])
def test_the_order_of_rows_does_not_matter(
    method: Any, trained: Trained, wanted: list[TrainExample], rows: list[TrainExample]
) -> None:
    probe = _probe(trained(decay=0.1).warm(), wanted)
    there = [probe.influence(row, method) for row in rows[:4]]
    probe.check()
    back = [probe.influence(row, method) for row in reversed(rows[:4])]
    assert there == back[::-1]
    assert all(isinstance(found, Influence) and found.method == method for found in there)


def test_without_the_null_step_a_helpful_row_looks_harmful(trained: Trained, wanted: list[TrainExample]) -> None:
    """Moments that lead uphill: a step on the reference itself is better than none, and still worse than standing."""
    model, row = trained().warm().model, wanted[0]
    batch = collate([row], {})
    up = gradient([nats(model, batch, batch.weights_N).sum() / len(batch.positions_N)], dict(model.named_parameters()))
    first, second = {name: -2 * g for name, g in up.items()}, {name: g * g for name, g in up.items()}
    warm = Warm(model, AdamW(1e-5, (0.9, 0.95), 1e-8, 0.0, steps_done=100), first, second)
    probe = _probe(warm, [row])
    for found in (probe.exact(row), probe.first_order(row)):
        assert isinstance(found, Influence)
        assert found.before - found.after < -1e-4
        assert found.influence > 1e-5


def test_a_baseline_that_moved_stops_the_probe(
    trained: Trained, wanted: list[TrainExample], rows: list[TrainExample]
) -> None:
    warm = trained().warm()
    probe = _probe(warm, wanted)
    probe.exact(rows[0])
    probe.check()
    with torch.no_grad():
        warm.trained["model.norm.weight"].mul_(1.001)
    with pytest.raises(BaselineMoved, match="what was measured since the last look is void"):
        probe.check()


def test_rows_of_which_no_step_can_be_made_are_dropped(
    trained: Trained, wanted: list[TrainExample], rows: list[TrainExample]
) -> None:
    probe = _probe(trained().warm(), wanted)
    row = rows[0]
    unfit = {
        "too long": replace(row, token_ids=(1,) * 513, weights=(1.0,) * 513),
        "nothing to learn": replace(row, weights=(1.0, *[0.0] * (len(row.weights) - 1))),
        "no number": replace(row, weights=tuple(float("inf") if weight else 0.0 for weight in row.weights)),
    }
    for reason, example in unfit.items():
        for found in (probe.exact(example), probe.first_order(example), probe.sampled(example)):
            assert isinstance(found, Dropped)
            assert (found.id, found.stage, found.reason) == (row.id, "influence", reason)


def test_a_student_or_a_reference_that_cannot_be_measured_is_refused(
    trained: Trained, wanted: list[TrainExample]
) -> None:
    warm = trained().warm()
    long = replace(wanted[0], token_ids=(1,) * 513, weights=(1.0,) * 513)
    with pytest.raises(UserError, match="has 513 tokens, and the student reads 512; leave out"):
        _probe(warm, [*wanted, long])
    with torch.no_grad():
        warm.trained["model.norm.weight"].fill_(float("nan"))
    with pytest.raises(UserError, match=r"is no number .* lower learning_rate"):
        _probe(warm, wanted)
