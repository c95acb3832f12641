"""Ranks, correlations and signs worked by hand; and which rows they are of."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.core.records import Influence, InfluenceMethod
from pipelines.influence.agreement import Agreement, agreement, of_rows, ranks, with_loss


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert list(ranks(np.array([10.0, 20.0, 20.0, 5.0]))) == [2, 3.5, 3.5, 1]
    assert list(ranks(np.array([7.0, 7.0, 7.0]))) == [2, 2, 2]


def test_the_three_figures_by_hand() -> None:
    # Ranks (1, 2.5, 2.5, 4) and (1, 3, 2, 4): Σab = 4.5, Σa² = 4.5, Σb² = 5 about their mean, 4.5/√22.5.
    assert agreement([1, 2, 2, 3], [1, 3, 2, 4]).spearman == pytest.approx(0.948683, abs=1e-6)
    # The same order, so 1; about their means Σab = 8, Σa² = 2, Σb² = 38, 8/√76.
    bent = agreement([1, 2, 3], [1, 2, 9])
    assert (bent.spearman, bent.pearson) == (pytest.approx(1), pytest.approx(0.917663, abs=1e-6))
    assert agreement([1, -1, 0, 2], [2, 1, 0, -1]).same_sign == 0.5


def test_where_nothing_varies_nothing_can_be_told() -> None:
    assert agreement([1, 1, 1], [1, 2, 3]) == Agreement(3, 0.0, 0.0, 1.0)
    assert agreement([], []) == Agreement(0, 0.0, 0.0, 0.0)


def test_an_agreement_below_the_threshold_is_put_into_words() -> None:
    found = Agreement(20, 0.65, 0.7, 0.8)
    assert found.doubt(0.6) == ""
    assert "Spearman is 0.650, below 0.9 (Pearson 0.700, the same sign in 80%)" in found.doubt(0.9)
    assert "`method: exact`" in found.doubt(0.9)


def test_rows_that_were_measured_both_ways_are_compared() -> None:
    def found(row: str, method: InfluenceMethod, influence: float) -> Influence:
        return Influence(f"{row} {method}", row, method, influence, 0.0, 0.0, 0.0, 0.0, 0.0)

    told = [found("a", "first_order", 1.0), found("b", "first_order", -2.0), found("c", "first_order", 3.0)]
    exact = [found("c", "exact", 5.0), found("a", "exact", -1.0)]
    assert of_rows([*told, *exact]) == Agreement(2, pytest.approx(1), pytest.approx(1), 0.5)
    owned = [replace(row, own_loss=own) for row, own in zip(told, (2.0, 3.0, 1.0), strict=True)]
    assert with_loss(owned) == pytest.approx(-1)
    assert with_loss([]) == 0
    assert of_rows(told) is None
    assert of_rows([]) is None
