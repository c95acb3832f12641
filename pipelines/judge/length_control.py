"""A win rate with the judge's liking for length taken out (AlpacaEval 2, arXiv 2404.04475, section 3).

A logistic regression of what each pair was worth to the model (1, 1/2 or 0), with these terms:

    model        one coefficient, of 1: how much better the judge finds this model than the baseline
    length       tanh(d / s): d is how many characters the model's answer is longer, s the standard deviation of d over
                 all pairs
    difficulty   only where coefficients are given: the question's own, as the publication has them from all models
                 of its leaderboard

The rate is the mean of what is predicted with the length term at 0. Without the public benchmark's coefficients, and
with verdicts in place of the judge's probabilities, the figure is ours and not to be compared with that leaderboard's.
Where one model is always the longer one, and by much the same, model and length cannot be told apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.core.config import Bootstrap
from serving.metrics import Interval

RIDGE = 0.01  # a pull towards 0, worth a hundredth of a pair, so that a model that always wins has finite coefficients
_STEPS, _ENOUGH, _LONGEST_STEP = 100, 1e-9, 2.0
_AT_ONCE = 200  # resamples that are fitted together

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """One pair: what it was worth to the model, and how many characters longer the model's answer is."""

    worth: float
    longer: float
    difficulty: float | None = None


def win_rate(pairs: Sequence[Judged], config: Bootstrap, seed: int) -> Interval | None:
    """The length-controlled win rate with a bootstrap interval over pairs; None where there are none."""
    if not pairs:
        return None
    terms_PT, worth_P = _terms(pairs), np.array([pair.worth for pair in pairs])
    draws = np.random.default_rng(seed).integers(0, len(pairs), (config.resamples, len(pairs)))
    counts_RP = np.stack([np.bincount(draw, minlength=len(pairs)) for draw in draws]).astype(float)
    rates = [_rates(terms_PT, worth_P, counts_RP[at : at + _AT_ONCE]) for at in range(0, len(counts_RP), _AT_ONCE)]
    (mean,) = _rates(terms_PT, worth_P, np.ones((1, len(pairs))))
    low, high = np.quantile(np.concatenate(rates), [(1 - config.confidence) / 2, (1 + config.confidence) / 2])
    return Interval(float(mean), float(low), float(high))


def fit(terms_PT: Array, worth_P: Array, counts_RP: Array) -> Array:
    """Coefficients [R, T] of the regression, for each way of counting the pairs: Newton's method."""
    R, T = len(counts_RP), terms_PT.shape[1]
    squares_PTT = terms_PT[:, :, None] * terms_PT[:, None, :]
    coefs_RT = np.zeros((R, T))
    for _ in range(_STEPS):
        chance_RP = _logistic(coefs_RT @ terms_PT.T)
        slope_RT = (counts_RP * (worth_P - chance_RP)) @ terms_PT - RIDGE * coefs_RT
        curve_RTT = np.tensordot(counts_RP * chance_RP * (1 - chance_RP), squares_PTT, 1) + RIDGE * np.eye(T)
        step_RT = np.linalg.solve(curve_RTT, slope_RT[:, :, None])[:, :, 0]
        longest_R1 = np.abs(step_RT).max(axis=1, keepdims=True)
        coefs_RT += step_RT * np.minimum(1, _LONGEST_STEP / np.maximum(longest_R1, _ENOUGH))
        if longest_R1.max() < _ENOUGH:
            break
    return coefs_RT


def _terms(pairs: Sequence[Judged]) -> Array:
    """[P, T]: model, length, and difficulty where it is given."""
    longer_P = np.array([pair.longer for pair in pairs], dtype=float)
    spread = float(longer_P.std())
    length_P = np.tanh(longer_P / spread) if spread else np.zeros(len(pairs))
    columns = [np.ones(len(pairs)), length_P]
    known = [pair.difficulty for pair in pairs if pair.difficulty is not None]
    assert len(known) in (0, len(pairs)), "the difficulty of some pairs is known, and that of others is not"
    return np.stack([*columns, *([np.array(known)] if known else [])], axis=1)


def _rates(terms_PT: Array, worth_P: Array, counts_RP: Array) -> Array:
    """[R]: the win rate of each way of counting, as if all answers were of one length."""
    even_PT = terms_PT.copy()
    even_PT[:, 1] = 0
    chance_RP = _logistic(fit(terms_PT, worth_P, counts_RP) @ even_PT.T)
    rates_R: Array = (counts_RP * chance_RP).sum(1) / counts_RP.sum(1)
    return rates_R


def _logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))
