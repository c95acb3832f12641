"""Wins, ties and losses worked by hand, and where a judge leans to a place."""

from itertools import count

import pytest

from pipelines.core.config import Bootstrap
from pipelines.core.records import Said, Score, Verdict
from pipelines.judge import win_rates
from pipelines.judge.win_rates import contests

CONFIG = Bootstrap(confidence=0.9, resamples=400)
_ids = count()


def both(question: str, first: Said, second: Said) -> list[Verdict]:
    """What is said with the model's answer first, and with the baseline's first."""
    more = (0, "", "", ())
    return [
        Verdict(str(next(_ids)), question, "all", "m", "b", "model", first, *more),
        Verdict(str(next(_ids)), question, "all", "m", "b", "baseline", second, *more),
    ]


@pytest.mark.parametrize(
    ("first", "second", "result", "place", "agreed"),
    [
        ("A", "B", "win", "neither", True),
        ("B", "A", "loss", "neither", True),
        ("tie", "tie", "tie", "neither", True),
        ("A", "A", "tie", "first", False),
        ("B", "B", "tie", "second", False),
        ("A", "tie", "tie", "neither", False),
        ("tie", "A", "tie", "neither", False),
        ("unscored", "B", "unscored", "neither", False),
        ("A", "unscored", "unscored", "neither", False),
        ("unscored", "unscored", "unscored", "neither", True),
    ],
)
def test_two_orders_make_one_contest(first: Said, second: Said, result: str, place: str, agreed: bool) -> None:
    (made,) = contests(both("q", first, second))
    assert (made.result, made.place, made.agreed) == (result, place, agreed)


def test_an_order_that_never_came_leaves_a_pair_unscored() -> None:
    assert [c.result for c in contests(both("q", "A", "B")[:1])] == ["unscored"]


def test_rates_are_of_what_is_scored() -> None:
    said = both("q1", "A", "B") + both("q2", "A", "B") + both("q3", "A", "A") + both("q4", "B", "A")
    said += both("q5", "unscored", "A") + both("q6", "B", "B")
    made = contests(said)
    rate = win_rates.win_rate(made, CONFIG, 1)
    assert rate is not None
    assert rate.mean == (2 + 2 / 2) / 5
    assert 0 <= rate.low < rate.mean < rate.high <= 1
    assert win_rates.place_shares(made) == {"first": 1 / 5, "second": 1 / 5}
    assert win_rates.disagreed(made) == 2 / 5
    assert win_rates.win_rate(contests(both("q", "unscored", "B")), CONFIG, 1) is None
    assert win_rates.disagreed([]) == win_rates.place_shares([])["first"] == 0


def test_an_interval_is_that_of_the_binomial_draws_it_resamples() -> None:
    made = contests([v for n in range(100) for v in (both(f"q{n}", "A", "B") if n < 60 else both(f"q{n}", "B", "A"))])
    rate = win_rates.win_rate(made, Bootstrap(confidence=0.95, resamples=20_000), 3)
    assert rate is not None
    assert (rate.low, rate.high) == pytest.approx((0.504, 0.696), abs=0.011)  # 0.6 ± 1.96 · sqrt(0.6 · 0.4 / 100)


def test_the_same_questions_are_drawn_for_every_model_whatever_their_order() -> None:
    said = [v for n in range(9) for v in (both(f"q{n}", "A", "B") if n % 2 else both(f"q{n}", "B", "A"))]
    assert win_rates.win_rate(contests(said), CONFIG, 1) == win_rates.win_rate(contests(said[::-1]), CONFIG, 1)


def score(question: str, turn: int, value: float) -> Score:
    return Score(f"{question}-{turn}", question, "all", "m", turn, value, "", "", ())


def test_numbers_are_averaged_over_answers_and_questions_are_resampled_whole() -> None:
    given = [score("q1", 1, 8), score("q1", 2, 2), score("q2", 1, 5), score("q3", 1, 0)]
    mean = win_rates.mean_score(given, CONFIG, 1)
    assert mean is not None
    assert mean.mean == 5
    # q1's turns are drawn together: 5 on the mean, as q2 alone has, whichever is drawn.
    assert (mean.low, mean.high) == (5, 5)
    assert win_rates.mean_score([score("q", 1, 0)], CONFIG, 1) is None


@pytest.mark.parametrize("first", ["model", "baseline"])
def test_what_is_said_and_who_is_meant_are_each_others_inverse(first: str) -> None:
    for who in ("model", "baseline", "tie", "unscored"):
        side = "model" if first == "model" else "baseline"
        says = win_rates.said_by(who, side)
        assert win_rates.winner(Verdict("v", "q", "all", "m", "b", side, says, 0, "", "", ())) == who
