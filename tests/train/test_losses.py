"""Losses against arithmetic done by hand, against their own laws, and against TRL and transformers."""

from collections.abc import Callable
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.core.records import SoftTargets, TrainExample
from pipelines.core.signals import unpack
from pipelines.train.batches import collate
from pipelines.train.losses import cross_entropy, top_k_kl
from pipelines.train.step import logprobs_of, loss_sums

Guesses = Callable[[int, int, int], Tensor]


def _row(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities]).log()


def _kl(student_NV: Tensor, teacher_NV: Tensor, k: int) -> Tensor:
    """Top-k KL per row, each weighing one."""
    top = teacher_NV.topk(k, dim=1)
    rows = [
        top_k_kl(student_NV[n : n + 1], top.indices[n : n + 1], top.values[n : n + 1], torch.ones(1))
        for n in range(len(student_NV))
    ]
    return torch.stack(rows)


def test_cross_entropy_by_hand() -> None:
    logprobs_NV = torch.cat([_row(0.5, 0.25, 0.25), _row(0.5, 0.25, 0.25), _row(0.25, 0.625, 0.125)])
    # 1·(-ln 1/2) + 0.5·(-ln 1/4) + 0·(-ln 1/8) = ln 2 + 0.5·2·ln 2 + 0 = 2·ln 2
    value = cross_entropy(logprobs_NV, torch.tensor([0, 2, 2]), torch.tensor([1.0, 0.5, 0.0]))
    assert value.item() == pytest.approx(2 * log(2), abs=1e-6)


def test_top_k_kl_by_hand_and_the_tail_makes_a_difference() -> None:
    teacher, student = _row(0.5, 0.25, 0.125, 0.125), _row(0.125, 0.5, 0.25, 0.125)
    # Candidates 0 and 1; the rest is 0.25 of the teacher's mass and 0.375 of the student's.
    # 0.5·ln(0.5/0.125) + 0.25·ln(0.25/0.5) + 0.25·ln(0.25/0.375) = ln 2 - 0.25·ln 2 + 0.25·ln(2/3)
    two = 0.75 * log(2) + 0.25 * log(2 / 3)  # 0.4185
    without_tail = 0.75 * log(2)  # 0.5199
    # All four: ln 2 - 0.25·ln 2 + 0.125·ln(0.125/0.25) + 0.125·ln 1
    four = 0.625 * log(2)  # 0.4332
    assert _kl(student, teacher, 2).item() == pytest.approx(two, abs=1e-6)
    assert abs(_kl(student, teacher, 2).item() - without_tail) > 0.1
    assert _kl(student, teacher, 4).item() == pytest.approx(four, abs=1e-6)


def test_kl_is_weighted_and_indifferent_to_the_candidates_order() -> None:
    teacher, student = _row(0.5, 0.25, 0.125, 0.125), _row(0.125, 0.5, 0.25, 0.125)
    ids_NK, weights_N = torch.tensor([[1, 0], [0, 1]]), torch.tensor([0.5, 2.0])
    value = top_k_kl(student.expand(2, -1), ids_NK, teacher.expand(2, -1).gather(1, ids_NK), weights_N)
    assert value.item() == pytest.approx(2.5 * _kl(student, teacher, 2).item(), abs=1e-6)


def test_a_students_thin_tail_counts_with_its_own_mass() -> None:
    # 0.99·ln(0.99/0.9995) + 0.01·ln(0.01/0.0005) = -0.00945 + 0.02996
    by_hand = 0.99 * log(0.99 / 0.9995) + 0.01 * log(0.01 / 0.0005)  # 0.0205
    assert _kl(_row(0.9995, 0.0003, 0.0002), _row(0.99, 0.006, 0.004), 1).item() == pytest.approx(by_hand, abs=1e-4)


@pytest.mark.parametrize("k", [1, 5, 49, 50])
def test_kl_of_a_distribution_with_itself_is_nothing(k: int, guesses: Guesses) -> None:
    same = guesses(16, 50, 1)
    assert _kl(same, same, k).abs().max() < 1e-6


def test_with_every_token_a_candidate_it_is_the_whole_kl(guesses: Guesses) -> None:
    student, teacher = guesses(16, 50, 2), guesses(16, 50, 3)
    whole = (teacher.exp() * (teacher - student)).sum(1)
    torch.testing.assert_close(_kl(student, teacher, 50), whole, atol=1e-5, rtol=0)
    assert (whole - _kl(student, teacher, 5)).abs().min() > 0.01  # fewer candidates see less


@pytest.mark.parametrize("k", [1, 5, 49, 50])
def test_kl_is_never_negative(k: int, guesses: Guesses) -> None:
    teacher = guesses(64, 50, 4)
    for student in (guesses(64, 50, 5), torch.log_softmax(teacher + 0.01 * guesses(64, 50, 6), dim=-1)):
        assert _kl(student, teacher, k).min() >= -1e-6


def test_kl_is_not_negative_where_the_teachers_tail_is_below_rounding() -> None:
    # The student has no tail at all: whatever becomes of a tail of 0.0008, 0 is the least a KL can be.
    teacher, student = _row(0.6, 0.3992, 0.0008), _row(0.6 / 0.9992, 0.3992 / 0.9992, 1e-9)
    assert _kl(student, teacher, 2).item() >= -1e-6


@pytest.mark.parametrize("k", [8, 32, 50])
def test_storing_the_signal_in_half_precision_hardly_moves_the_loss(
    k: int, guesses: Guesses, teach: Callable[[TrainExample, Tensor, int], SoftTargets]
) -> None:
    example = TrainExample("e", "", "", "answer", (0,) * 65, (0.0,) + (1.0,) * 64)
    student, teacher = guesses(64, 50, 7), guesses(64, 50, 8)
    stored_ids, stored = (torch.from_numpy(a) for a in unpack(teach(example, teacher, k)))
    exact = _kl(student, teacher, k)
    for n in range(64):
        rounded = top_k_kl(student[n : n + 1], stored_ids[n : n + 1], stored[n : n + 1], torch.ones(1))
        assert abs(rounded.item() - exact[n].item()) < 1e-2


def test_a_tokens_loss_is_read_one_position_earlier(model: Any, talk: list[TrainExample]) -> None:
    batch = collate(talk[4:5], {})
    with torch.no_grad():
        all_TV = torch.log_softmax(model(input_ids=batch.ids_1T).logits[0], dim=-1)
        mine = cross_entropy(logprobs_of(model, batch), batch.targets_N, batch.weights_N)
    shifted = cross_entropy(all_TV[batch.positions_N - 1], batch.targets_N, batch.weights_N)
    unshifted = cross_entropy(all_TV[batch.positions_N], batch.targets_N, batch.weights_N)
    assert mine.item() == pytest.approx(shifted.item(), abs=1e-4)
    assert abs(shifted.item() - unshifted.item()) > 1


def test_cross_entropy_equals_transformers_own(model: Any, talk: list[TrainExample]) -> None:
    for example in talk:
        batch = collate([example], {})
        labels = torch.tensor([[id if w else -100 for id, w in zip(example.token_ids, example.weights, strict=True)]])
        with torch.no_grad():
            theirs = model(input_ids=batch.ids_1T, labels=labels).loss
            ours = loss_sums(logprobs_of(model, batch), batch, "per_example", kd=False)["answer"]
        assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)


def test_kl_equals_trls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.gkd import GKDTrainer

    torch.manual_seed(9)
    student_NV, teacher_NV = 2 * torch.randn(12, 30), 2 * torch.randn(12, 30)
    learnt_N = torch.tensor([0, 0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 1])
    labels = torch.where(learnt_N > 0, 7, -100)
    theirs = GKDTrainer.generalized_jsd_loss(student_NV[None], teacher_NV[None], labels[None], beta=0, reduction="sum")
    ours = _kl(student_NV.log_softmax(-1), teacher_NV.log_softmax(-1), 30)[learnt_N > 0].sum()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
