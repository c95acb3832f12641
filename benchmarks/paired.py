"""Arms of an experiment compared by the same held-out rows, in words for a table. Used by the scripts beside it."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from serving.metrics import ratio_interval

Rows = Mapping[str, tuple[float, int]]  # held-out row -> (nats, tokens)


def over_seeds(values: Sequence[float]) -> str:
    """Mean, with its standard deviation where there are several."""
    return f"{fmean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


def difference(arm: Sequence[Rows], other: Sequence[Rows]) -> str:
    """Two arms' difference in nats per token, seed by seed and row by row: three cells of a table.

    The mean, a 95 % bootstrap interval over rows, and the smallest difference that so many rows would show four times
    in five (2.8 standard errors).
    """
    pairs = [
        (nll - theirs[row][0], tokens)
        for ours, theirs in zip(arm, other, strict=True)
        for row, (nll, tokens) in ours.items()
    ]
    apart, tokens = [a for a, _ in pairs], [float(t) for _, t in pairs]
    interval = ratio_interval(apart, tokens, 0.95, 2000, 0)
    error = (interval.high - interval.low) / (2 * 1.96)
    return f"{interval.mean:+.4f} | {interval.low:+.4f} to {interval.high:+.4f} | {2.8 * error:.4f}"
