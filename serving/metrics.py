"""Figures over evaluation answers: means with bootstrap intervals over prompts, and the gap that training closed.

Knows numbers. Does not know models or endpoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap percentile interval over prompts."""

    mean: float
    low: float
    high: float


def ratio_interval(
    sums: Sequence[float], counts: Sequence[float], confidence: float, resamples: int, seed: int
) -> Interval:
    """Σ sums / Σ counts, resampling prompts. With counts of 1 it is a plain mean."""
    sums_P, counts_P = np.asarray(sums, dtype=float), np.asarray(counts, dtype=float)
    picks_RP = np.random.default_rng(seed).integers(0, len(sums_P), (resamples, len(sums_P)))
    means_R = sums_P[picks_RP].sum(1) / counts_P[picks_RP].sum(1)
    low, high = np.quantile(means_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(sums_P.sum() / counts_P.sum()), float(low), float(high))


def gap_closed(before: float, after: float, teacher: float) -> float | None:
    """Share of the loss gap to the teacher that training closed; None where there was no gap."""
    return (before - after) / (before - teacher) if before > teacher else None
