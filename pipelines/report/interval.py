"""Figures that stand for many. Knows nothing of what they are figures of."""

from dataclasses import dataclass

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # by which a report tells how figures lie


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """One mean minus another, over the same rows."""

    interval: Interval
    smallest: float  # that so many rows would show four times in five
    rows: int
