"""Divergences against arithmetic done by hand, against their own laws, and against TRL."""

from collections.abc import Callable
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.core.records import SoftTargets, TrainExample
from pipelines.core.signals import unpack
from pipelines.train.losses.divergences import Divergence, cross_entropy, divergence
from pipelines.train.losses.top_k import ABSENT, outcomes, rest

Guesses = Callable[[int, int, int], Tensor]

FORWARD, REVERSE, JSD = divergence("forward"), divergence("reverse"), divergence("jsd", beta=0.3)
ALL = pytest.mark.parametrize("how", [FORWARD, REVERSE, JSD], ids=["forward", "reverse", "jsd"])
HOT = [divergence("forward", None, 3.0), divergence("reverse", None, 0.5), divergence("jsd", 0.7, 2.0)]
TEACHER, STUDENT = (0.5, 0.25, 0.125, 0.125), (0.125, 0.5, 0.25, 0.125)


def _row(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities]).log()


def _top(how: Divergence, student_NV: Tensor, teacher_NV: Tensor, k: int) -> Tensor:
    top = teacher_NV.topk(k, dim=1)
    return how(*outcomes(student_NV, top.indices, top.values))


def test_cross_entropy_by_hand() -> None:
    logprobs_NV = torch.cat([_row(0.5, 0.25, 0.25), _row(0.25, 0.625, 0.125)])
    value = cross_entropy(logprobs_NV, torch.tensor([0, 2]))
    assert value.tolist() == pytest.approx([log(2), 3 * log(2)])


def test_forward_kl_by_hand() -> None:
    # 0.5·ln(0.5/0.125) + 0.25·ln(0.25/0.5) + 0.125·ln(0.125/0.25) + 0.125·ln 1 = (1 - 0.25 - 0.125)·ln 2
    assert FORWARD(_row(*STUDENT), _row(*TEACHER)).item() == pytest.approx(0.625 * log(2))


def test_reverse_kl_by_hand() -> None:
    # 0.125·ln(0.125/0.5) + 0.5·ln(0.5/0.25) + 0.25·ln(0.25/0.125) + 0 = (-0.25 + 0.5 + 0.25)·ln 2
    assert REVERSE(_row(*STUDENT), _row(*TEACHER)).item() == pytest.approx(0.5 * log(2))


def test_generalised_jsd_by_hand() -> None:
    # Teacher (3/4, 1/4), student (1/4, 3/4), β = 1/4. M = 1/4·(3/4, 1/4) + 3/4·(1/4, 3/4) = (3/8, 5/8).
    # KL(teacher ‖ M) = 3/4·ln 2 + 1/4·ln 2/5 and KL(student ‖ M) = 1/4·ln 2/3 + 3/4·ln 6/5.
    of_teacher = 0.75 * log(2) + 0.25 * log(0.4)  # 0.2908
    of_student = 0.25 * log(2 / 3) + 0.75 * log(1.2)  # 0.0354
    by_hand = 0.25 * of_teacher + 0.75 * of_student  # 0.0992; with β on the other side it is 0.2269
    value = divergence("jsd", beta=0.25)(_row(0.25, 0.75), _row(0.75, 0.25))
    assert value.item() == pytest.approx(by_hand, abs=1e-6)


def test_temperature_by_hand() -> None:
    # At τ = 2 probabilities become their roots: (0.9, 0.1) becomes (3/4, 1/4), and (0.5, 0.5) stays.
    by_hand = 4 * (0.75 * log(1.5) + 0.25 * log(0.5))  # τ²·KL
    assert divergence("forward", None, 2.0)(_row(0.5, 0.5), _row(0.9, 0.1)).item() == pytest.approx(by_hand, abs=1e-6)


def test_near_its_ends_jsd_is_a_vanishing_share_of_the_named_ones(guesses: Guesses) -> None:
    student, teacher = guesses(8, 20, 1), guesses(8, 20, 2)
    for small in (1e-2, 1e-3):
        low, high = (divergence("jsd", beta=b)(student, teacher) for b in (small, 1 - small))
        assert (low < 10 * small).all()
        torch.testing.assert_close(low / small, FORWARD(student, teacher), atol=0, rtol=60 * small)
        torch.testing.assert_close(high / small, REVERSE(student, teacher), atol=0, rtol=60 * small)


def test_jsd_at_a_half_is_symmetric(guesses: Guesses) -> None:
    one, other = guesses(8, 20, 1), guesses(8, 20, 2)
    half = divergence("jsd", beta=0.5)
    torch.testing.assert_close(half(one, other), half(other, one))
    assert half(one, other).max() <= log(2)


def test_top_k_kl_by_hand_and_the_rest_makes_a_difference() -> None:
    # Candidates 0 and 1; the rest is 0.25 of the teacher's mass and 0.375 of the student's.
    # 0.5·ln(0.5/0.125) + 0.25·ln(0.25/0.5) + 0.25·ln(0.25/0.375) = ln 2 - 0.25·ln 2 + 0.25·ln(2/3)
    by_hand = 0.75 * log(2) + 0.25 * log(2 / 3)  # 0.4185; without the rest it is 0.5199
    assert _top(FORWARD, _row(*STUDENT), _row(*TEACHER), 2).item() == pytest.approx(by_hand, abs=1e-5)


def test_top_k_reverse_kl_by_hand() -> None:
    # 0.125·ln(0.125/0.5) + 0.5·ln(0.5/0.25) + 0.375·ln(0.375/0.25) = 0.25·ln 2 + 0.375·ln 1.5
    by_hand = 0.25 * log(2) + 0.375 * log(1.5)
    assert _top(REVERSE, _row(*STUDENT), _row(*TEACHER), 2).item() == pytest.approx(by_hand, abs=1e-5)


def test_top_k_jsd_by_hand() -> None:
    # One candidate: teacher (1/2, 1/2), student (1/8, 7/8), M = (5/16, 11/16) at β = 1/2.
    of_teacher = 0.5 * log(8 / 5) + 0.5 * log(8 / 11)
    of_student = 0.125 * log(2 / 5) + 0.875 * log(14 / 11)
    value = _top(divergence("jsd", beta=0.5), _row(*STUDENT), _row(*TEACHER), 1)
    assert value.item() == pytest.approx(0.5 * of_teacher + 0.5 * of_student, abs=1e-5)


def test_candidates_come_in_any_order_and_padding_is_none() -> None:
    teacher, student = _row(*TEACHER), _row(*STUDENT)
    ids_NK = torch.tensor([[1, 0, 0, 9]])  # the third is padding; the fourth is beyond the student's vocabulary
    told_NK = torch.tensor([[log(0.25), log(0.5), 2 * ABSENT, log(0.01)]])
    for how in (FORWARD, REVERSE, JSD):
        wanted = _top(how, student, teacher, 2)
        assert how(*outcomes(student, ids_NK, told_NK)).item() == pytest.approx(wanted.item(), abs=1e-5)


def test_a_students_thin_rest_counts_with_its_own_mass() -> None:
    # 0.99·ln(0.99/0.9995) + 0.01·ln(0.01/0.0005) = -0.00945 + 0.02996
    by_hand = 0.99 * log(0.99 / 0.9995) + 0.01 * log(0.01 / 0.0005)  # 0.0205
    value = _top(FORWARD, _row(0.9995, 0.0003, 0.0002), _row(0.99, 0.006, 0.004), 1)
    assert value.item() == pytest.approx(by_hand, abs=1e-4)


@pytest.mark.parametrize("how", [FORWARD, REVERSE, JSD, *HOT])
def test_a_distribution_is_no_distance_from_itself(how: Divergence, guesses: Guesses) -> None:
    same = guesses(16, 50, 1)
    assert how(same, same).abs().max() < 1e-6


@ALL
@pytest.mark.parametrize("k", [1, 5, 49, 50])
def test_nor_are_its_candidates(how: Divergence, k: int, guesses: Guesses) -> None:
    same = guesses(16, 50, 1)
    assert _top(how, same, same, k).abs().max() < 1e-6


@ALL
def test_with_every_token_a_candidate_it_is_the_whole_divergence(how: Divergence, guesses: Guesses) -> None:
    student, teacher = guesses(16, 50, 2), guesses(16, 50, 3)
    whole = how(student, teacher)
    torch.testing.assert_close(_top(how, student, teacher, 50), whole, atol=1e-5, rtol=0)
    assert (whole - _top(how, student, teacher, 5)).abs().min() > 1e-3


@ALL
@pytest.mark.parametrize("k", [1, 5, 49, 50])
def test_fewer_candidates_see_no_more_and_never_less_than_nothing(how: Divergence, k: int, guesses: Guesses) -> None:
    teacher = guesses(64, 50, 4)
    for student in (guesses(64, 50, 5), torch.log_softmax(teacher + 0.01 * guesses(64, 50, 6), dim=-1)):
        seen = _top(how, student, teacher, k)
        assert seen.min() >= -1e-6
        assert (seen <= how(student, teacher) + 1e-3).all()  # fp32: a thin rest is a difference of large masses


@ALL
def test_it_is_not_negative_where_a_rest_is_below_rounding(how: Divergence) -> None:
    teacher, student = _row(0.6, 0.3992, 0.0008), _row(0.6 / 0.9992, 0.3992 / 0.9992, 1e-9)
    for one, other in ((teacher, student), (student, teacher)):
        value = _top(how, one, other, 2).item()
        assert -1e-6 <= value < 0.02


def test_candidates_that_rounding_adds_up_to_more_than_one_leave_no_rest() -> None:
    assert rest(_row(0.7, 0.3009)).item() == 0
    value = FORWARD(*outcomes(_row(0.7, 0.29, 0.01), torch.tensor([[0, 1]]), _row(0.7, 0.3009)))
    by_hand = 0.7 / 1.0009 * log(1 / 1.0009) + 0.3009 / 1.0009 * log(0.3009 / 1.0009 / 0.29)
    assert value.item() == pytest.approx(by_hand, abs=2e-5)


@pytest.mark.parametrize("k", [8, 32, 50])
@ALL
def test_storing_the_signal_in_half_precision_hardly_moves_the_loss(
    how: Divergence, k: int, guesses: Guesses, teach: Callable[[TrainExample, Tensor, int], SoftTargets]
) -> None:
    example = TrainExample("e", "", "", "answer", (0,) * 65, (0.0,) + (1.0,) * 64)
    student, teacher = guesses(64, 50, 7), guesses(64, 50, 8)
    ids_NK, told_NK = (torch.from_numpy(a) for a in unpack(teach(example, teacher, k)))
    stored, exact = how(*outcomes(student, ids_NK, told_NK)), _top(how, student, teacher, k)
    assert (stored - exact).abs().max() < (0.06 if how is REVERSE else 1e-2)  # of 1 to 5 nats


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize(("kind", "beta"), [("forward", None), ("reverse", None), ("jsd", 0.1), ("jsd", 0.5)])
def test_values_and_gradients_are_those_of_the_formula_written_out(
    kind: Any, beta: float | None, temperature: float
) -> None:
    torch.manual_seed(3)
    logits_NV = torch.randn(6, 30, dtype=torch.float64, requires_grad=True)
    teacher_NV = torch.randn(6, 30, dtype=torch.float64)
    p, q = (teacher_NV / temperature).softmax(-1), (logits_NV / temperature).softmax(-1)
    if beta is None:
        naive = p * (p / q).log() if kind == "forward" else q * (q / p).log()
    else:
        m = beta * p + (1 - beta) * q
        naive = beta * p * (p / m).log() + (1 - beta) * q * (q / m).log()
    wanted = temperature**2 * naive.sum(-1)
    ours = divergence(kind, beta, temperature)(logits_NV.log_softmax(-1), teacher_NV.log_softmax(-1))
    torch.testing.assert_close(ours, wanted, atol=1e-12, rtol=1e-9)
    (mine,), (theirs,) = (torch.autograd.grad(v.sum(), logits_NV, retain_graph=True) for v in (ours, wanted))
    torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=1e-9)


@ALL
def test_top_k_gradients_are_those_of_numerical_differences(how: Divergence) -> None:
    torch.manual_seed(4)
    teacher_NV = torch.randn(3, 12, dtype=torch.float64).log_softmax(-1)
    top = teacher_NV.topk(4, dim=1)
    logits_NV = torch.randn(3, 12, dtype=torch.float64, requires_grad=True)

    def loss(logits_NV: Tensor) -> Tensor:
        return how(*outcomes(logits_NV.log_softmax(-1), top.indices, top.values))

    # `outcomes` ends in fp32, whose rounding is all that differs.
    assert torch.autograd.gradcheck(loss, logits_NV, eps=1e-2, atol=1e-3, rtol=1e-3, nondet_tol=1e-6)


@pytest.mark.parametrize(("beta", "how"), [(0, FORWARD), (1, REVERSE), (0.3, JSD)])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_divergences_equal_trls(
    beta: float, how: Divergence, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.gkd import GKDTrainer

    torch.manual_seed(9)
    student_NV, teacher_NV = 2 * torch.randn(12, 30), 2 * torch.randn(12, 30)
    learnt_N = torch.tensor([0, 0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 1])
    labels = torch.where(learnt_N > 0, 7, -100)
    theirs = GKDTrainer.generalized_jsd_loss(
        student_NV[None], teacher_NV[None], labels[None], beta=beta, temperature=temperature, reduction="sum"
    )
    at_temperature = [(x / temperature).log_softmax(-1) for x in (student_NV, teacher_NV)]
    assert how(*at_temperature)[learnt_N > 0].sum().item() == pytest.approx(theirs.item(), rel=1e-5)
    if how is not JSD:  # the same, by its own temperature: TRL has no τ² before it
        ours = divergence("forward" if beta == 0 else "reverse", None, temperature)
        value = ours(*(x.log_softmax(-1) for x in (student_NV, teacher_NV)))[learnt_N > 0].sum()
        assert value.item() == pytest.approx(temperature**2 * theirs.item(), rel=1e-5)
