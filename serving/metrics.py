"""Figures over evaluation answers: repetition, and means with bootstrap intervals over prompts.

Knows numbers and texts. Does not know models or endpoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.generate.rouge import tokens


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap percentile interval over prompts."""

    mean: float
    low: float
    high: float


def repeated_3grams(text: str) -> float:
    """Share of a text's 3-grams that stood earlier in it; 0 for fewer than two 3-grams."""
    words = tokens(text)
    grams = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(grams)) / len(grams) if len(grams) > 1 else 0.0


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
