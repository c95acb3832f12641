"""What makes a judge fit, worked by hand on made-up verdicts."""

from collections.abc import Callable

import pytest

from pipelines.core.config import JudgeCheck
from pipelines.core.records import Pair, Said, Score, Side, Verdict
from pipelines.judge import self_check
from pipelines.judge.pairwise import ORDERS, verdict
from pipelines.judge.win_rates import said_by

Judge = Callable[[Pair, Side, int], Said]
PAIRS = {pair.question_id: n for n, pair in enumerate(self_check.pairs())}


def right(pair: Pair, first: Side, repeat: int) -> Said:
    return said_by("model" if pair.category == self_check.KNOWN else "tie", first)


def verdicts(judge: Judge, repeats: int = 2) -> list[Verdict]:
    return [
        verdict(pair, first, judge(pair, first, repeat), repeat, "", "")
        for pair in self_check.pairs()
        for first in ORDERS
        for repeat in range(repeats)
    ]


def checked(judge: Judge) -> self_check.Checked:
    return self_check.of_verdicts(verdicts(judge), "pairwise", 2)


def test_a_judge_that_is_always_right_is_fit() -> None:
    found = checked(right)
    assert (found.agreement, found.agreement_when_shorter, found.unparsable, found.repeated) == (1, 1, 0, 1)
    assert (found.first_place, found.second_place, found.replies) == (0, 0, 128)
    assert found.faults(JudgeCheck()) == []


def test_the_same_answer_twice_shows_a_leaning_that_right_answers_hide() -> None:
    def first_when_in_doubt(pair: Pair, first: Side, repeat: int) -> Said:
        return "A" if pair.category == self_check.SAME else right(pair, first, repeat)

    found = checked(first_when_in_doubt)
    assert (found.agreement, found.first_place) == (1, 8 / 32)
    assert len(found.faults(JudgeCheck())) == 1
    assert found.faults(JudgeCheck(position_bias=0.25)) == []


def test_a_leaning_to_the_second_place_is_one_too() -> None:
    found = checked(lambda pair, first, repeat: "B")
    assert (found.agreement, found.first_place, found.second_place) == (0.5, 0, 1)
    assert len(found.faults(JudgeCheck())) == 2


def test_replies_without_a_verdict_are_no_agreement_and_no_fault_of_it() -> None:
    def some(pair: Pair, first: Side, repeat: int) -> Said:
        return "unscored" if PAIRS[pair.question_id] % 4 == 0 else right(pair, first, repeat)

    found = checked(some)
    assert (found.agreement, found.unparsable) == (1, 0.25)
    (fault,) = found.faults(JudgeCheck())
    assert fault.startswith("25% of its replies hold no verdict")
    assert found.faults(JudgeCheck(unparsable=0.25)) == []
    missing = self_check.of_verdicts(verdicts(right)[: 128 - 32], "pairwise", 2)
    assert missing.unparsable == 0.25
    nothing = self_check.of_verdicts([], "pairwise", 2)
    assert (nothing.agreement, nothing.unparsable, nothing.repeated) == (0, 1, 0)


def test_a_liking_for_length_is_told_where_the_right_answer_is_the_shorter_one() -> None:
    def longer(pair: Pair, first: Side, repeat: int) -> Said:
        mine, other = len(pair.model_said[0]), len(pair.baseline_said[0])
        return said_by("tie" if mine == other else "model" if mine > other else "baseline", first)

    found = checked(longer)
    assert found.agreement_when_shorter == 0
    assert found.agreement == pytest.approx(11 / 24)


def test_verdicts_that_change_when_asked_again_are_counted() -> None:
    def wavers(pair: Pair, first: Side, repeat: int) -> Said:
        return "tie" if repeat and PAIRS[pair.question_id] < 8 else right(pair, first, repeat)

    assert checked(wavers).repeated == 1 - 8 / 32
    assert self_check.of_verdicts(verdicts(right, 1), "likelihood", 1).repeated is None


def score(question: str, model: str, value: float) -> Score:
    return Score(f"{question}-{model}", question, "known", model, 1, value, "", "", ())


def test_numbers_must_be_higher_for_what_is_right() -> None:
    ids = [pair.question_id for pair in self_check.pairs() if pair.category == self_check.KNOWN]
    given = [score(id, "right", 7) for id in ids] + [
        score(id, "wrong", 7 if n < 6 else 0 if n < 12 else 2) for n, id in enumerate(ids)
    ]
    found = self_check.of_scores(given)
    # 6 of 48 have no number; of the 18 pairs that are left 6 are equal, which tells them not apart.
    assert (found.unparsable, found.agreement) == (6 / 48, 12 / 18)
    assert len(found.faults(JudgeCheck())) == 2
    assert found.way == "single"
