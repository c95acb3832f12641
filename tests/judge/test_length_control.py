"""Length-controlled win rates: the fit against scipy's optimum, and cases that can be told by hand."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from pipelines.core.config import Bootstrap
from pipelines.judge import length_control
from pipelines.judge.length_control import RIDGE, Judged, fit

CONFIG = Bootstrap(confidence=0.9, resamples=500)


def rate(pairs: list[Judged]) -> float:
    found = length_control.win_rate(pairs, CONFIG, 1)
    assert found is not None
    return found.mean


def optimum(terms: Any, worth: Any, counts: Any) -> Any:
    """Where the penalised likelihood is highest, by another method."""

    def loss(coefs: Any) -> float:
        logits = terms @ coefs
        return float((counts * (np.logaddexp(0, logits) - worth * logits)).sum() + RIDGE / 2 * coefs @ coefs)

    return minimize(
        loss, np.zeros(terms.shape[1]), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 9000}
    ).x


def test_the_fit_is_scipys_for_pairs_counted_once_and_as_they_are_drawn() -> None:
    chance = np.random.default_rng(5)
    terms = np.stack([np.ones(60), np.tanh(chance.normal(0.2, 1, 60)), chance.normal(0, 1, 60)], axis=1)
    worth = chance.choice([0.0, 0.5, 1.0], 60)
    counts = np.stack([np.ones(60), np.bincount(chance.integers(0, 60, 60), minlength=60)]).astype(float)
    found = fit(terms, worth, counts)
    for coefs, weights in zip(found, counts, strict=True):
        assert coefs == pytest.approx(optimum(terms, worth, weights), abs=1e-5)


def test_answers_of_one_length_have_the_plain_win_rate() -> None:
    pairs = [Judged(worth, 30) for worth in (1, 1, 1, 0.5, 0)] * 20
    assert rate(pairs) == pytest.approx(0.7, abs=0.001)
    assert rate([Judged(0.5, 0)] * 4) == 0.5


def test_a_judge_that_sees_only_length_gives_an_even_rate_however_often_the_model_is_longer() -> None:
    """The logit of winning is log 10 where the model is longer, and -log 10 where it is shorter: their middle is 0."""
    pairs = [Judged(1.0, 100)] * 30 + [Judged(0.0, 100)] * 3 + [Judged(0.0, -100)] * 10 + [Judged(1.0, -100)] * 1
    assert sum(pair.worth for pair in pairs) / len(pairs) == pytest.approx(0.705, abs=0.001)
    assert rate(pairs) == pytest.approx(0.5, abs=0.002)
    # Where length tells all, nothing but the pull towards 0 keeps the coefficients finite, and most is still taken out.
    assert 0.5 < rate([Judged(1.0, 100)] * 30 + [Judged(0.0, -100)] * 10) < 0.65


def test_a_model_that_wins_short_and_long_keeps_its_rate() -> None:
    pairs = [Judged(1.0, 100)] * 9 + [Judged(0.0, 100)] * 1 + [Judged(1.0, -100)] * 9 + [Judged(0.0, -100)] * 1
    assert rate(pairs) == pytest.approx(0.9, abs=0.002)


def test_two_models_changed_about_have_what_is_left_to_one() -> None:
    pairs = [Judged(worth, longer) for worth, longer in ((1, 40), (0, -10), (1, -70), (0.5, 20), (1, 90), (0, 5))]
    other = [Judged(1 - pair.worth, -pair.longer) for pair in pairs]
    assert rate(pairs) + rate(other) == pytest.approx(1, abs=1e-9)


def test_a_given_difficulty_is_a_term_and_its_mean_stays() -> None:
    """Won where it is easy and lost where it is hard: half of the questions each, at any length."""
    hard = [Judged(float(n % 10 == 0), (-1) ** n * 10, 1.0) for n in range(40)]
    easy = [Judged(float(n % 10 != 0), (-1) ** n * 10, -1.0) for n in range(40)]
    assert rate(hard + easy) == pytest.approx(0.5, abs=0.002)
    assert rate(easy + easy + hard) > 0.6
    with pytest.raises(AssertionError, match="difficulty of some pairs"):
        rate([*hard, Judged(1, 2)])


def test_all_won_is_finite_and_near_one_and_none_is_nothing() -> None:
    found = length_control.win_rate([Judged(1, n) for n in (5, -5, 3, -3)] * 5, CONFIG, 1)
    assert found is not None
    assert 0.98 < found.low < found.high < 1
    assert found.mean == pytest.approx(0.997, abs=0.001)
    assert length_control.win_rate([], CONFIG, 1) is None


def test_the_interval_is_that_of_the_rate_where_length_says_nothing() -> None:
    chance = np.random.default_rng(2)
    pairs = [Judged(float(n < 120), float(chance.normal(0, 50))) for n in range(200)]
    found = length_control.win_rate(pairs, Bootstrap(confidence=0.95, resamples=2000), 1)
    assert found is not None
    half = 1.96 * (0.6 * 0.4 / 200) ** 0.5
    assert (found.mean - found.low, found.high - found.mean) == pytest.approx((half, half), rel=0.15)
