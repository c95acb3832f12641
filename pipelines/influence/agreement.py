"""Whether an estimate of influence may stand for the measured one: ranks, values and signs compared.

Knows numbers and rows of both kinds. Does not know steps or losses.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.records import Influence


@dataclass(frozen=True)
class Agreement:
    """Of an estimate with what it estimates."""

    rows: int
    spearman: float
    pearson: float
    same_sign: float  # share of the rows

    def in_words(self, threshold: float) -> str:
        """The figures, and what is to be said where they are too low."""
        told = f"Spearman {self.spearman:.3f}, Pearson {self.pearson:.3f}, the same sign in {self.same_sign:.0%}"
        return f"{self.rows} rows measured both ways: {told}" + (
            f"\n{doubt}" if (doubt := self.doubt(threshold)) else ""
        )

    def doubt(self, threshold: float) -> str:
        """What is to be said of a Spearman correlation below the threshold; "" above it."""
        if self.spearman >= threshold:
            return ""
        return (
            f"the estimate does not stand for exact here: over {self.rows} rows measured both ways Spearman is "
            f"{self.spearman:.3f}, below {threshold:g} (Pearson {self.pearson:.3f}, the same sign in "
            f"{self.same_sign:.0%}); use `method: exact`, or a student with a longer warm-up or a lower learning_rate"
        )


def of_rows(rows: Iterable[Influence]) -> Agreement | None:
    """Of those that were measured exactly and estimated, too; None where there is none."""
    exact: dict[str, float] = {}
    told: dict[str, float] = {}
    for row in rows:
        (exact if row.method == "exact" else told)[row.row_id] = row.influence
    both = sorted(exact.keys() & told.keys())
    return agreement([told[id] for id in both], [exact[id] for id in both]) if both else None


def with_loss(rows: Iterable[Influence]) -> float:
    """Spearman correlation of influences with the rows' own losses: near 1 or -1, choosing by loss does as well."""
    both = [(row.influence, row.own_loss) for row in rows]
    influences_R, losses_R = np.asarray(both, dtype=float).reshape(-1, 2).T
    return spearman(influences_R, losses_R)


def agreement(estimated: Sequence[float], measured: Sequence[float]) -> Agreement:
    """The three figures of two lists over the same rows."""
    a_R, b_R = np.asarray(estimated, dtype=float), np.asarray(measured, dtype=float)
    same_R = np.sign(a_R) == np.sign(b_R)
    return Agreement(len(a_R), spearman(a_R, b_R), pearson(a_R, b_R), float(same_R.sum() / max(1, len(same_R))))


def pearson(a_R: NDArray[np.float64], b_R: NDArray[np.float64]) -> float:
    """Linear correlation; 0 where one of the two does not vary, so that nothing can be told."""
    if len(a_R) < 2 or np.ptp(a_R) == 0 or np.ptp(b_R) == 0:
        return 0.0
    return float(np.corrcoef(a_R, b_R)[0, 1])


def spearman(a_R: NDArray[np.float64], b_R: NDArray[np.float64]) -> float:
    """Correlation of ranks."""
    return pearson(ranks(a_R), ranks(b_R))


def ranks(values_R: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, which_R, sizes = np.unique(values_R, return_inverse=True, return_counts=True)
    means = sizes.cumsum() - (sizes - 1) / 2
    return np.asarray(means[which_R])
