"""Repetition, intervals and the closed gap, worked by hand."""

import pytest

from serving.metrics import gap_closed, ratio_interval


def test_a_ratio_weighs_prompts_by_their_tokens() -> None:
    # 10 nats over 10 tokens and 0 over 90: 0.1 per token, not 0.5
    found = ratio_interval([10.0, 0.0], [10, 90], 0.95, 500, seed=1)
    assert found.mean == pytest.approx(0.1)
    assert found.low <= found.mean <= found.high
    assert (found.low, found.high) == (0.0, 1.0)  # one prompt twice is as likely as the other twice


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        sample = rng.normal(2.0, 1.0, 40)
        found = ratio_interval(list(sample), [1.0] * 40, 0.9, 300, seed=trial)
        hits += found.low <= 2.0 <= found.high
    assert 165 <= hits <= 195  # 90 % of 200 is 180


def test_the_gap() -> None:
    assert gap_closed(2.0, 1.5, 1.0) == pytest.approx(0.5)
    assert gap_closed(2.0, 2.2, 1.0) == pytest.approx(-0.2)
    assert gap_closed(1.0, 0.9, 1.0) is None
