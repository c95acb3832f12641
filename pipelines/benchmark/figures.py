"""What models' answers to a benchmark come to: a figure for each metric, its interval, and what it is above another's.

Knows answers by document. A metric's figure is the harness's own; where it is the mean over the documents, which most
are, an interval and a difference by document can be told, and else neither (a perplexity is no mean of documents).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from pipelines.core.config import Bootstrap
from pipelines.core.records import BenchmarkAnswer
from serving.accuracy import SHOWS
from serving.metrics import Interval, ratio_interval

Document = tuple[str, int]  # (task, place in its data)


@dataclass(frozen=True)
class Figure:
    """One model's figure for one metric of a benchmark."""

    benchmark: str
    metric: str
    filter: str
    value: float
    stderr: float | None  # None: it is no mean, or of one document
    documents: int
    higher_is_better: bool | None  # None: the task does not say

    @property
    def key(self) -> tuple[str, str, str]:
        return self.benchmark, self.metric, self.filter


@dataclass(frozen=True)
class Gain:
    """One model's mean minus the baseline's, over the documents that both answered."""

    share: Interval
    smallest: float  # that so many documents can show
    documents: int


def figure(
    benchmark: str,
    metric: str,
    filter: str,
    value: float,
    answers: Sequence[BenchmarkAnswer],
    higher_is_better: bool | None,
) -> Figure:
    """The harness's value, and what the documents say of it."""
    told = Figure(benchmark, metric, filter, value, None, 0, higher_is_better)
    each = list(by_document(answers, told).values())
    if not _is_mean(told, each):
        count = sum(answer.benchmark == benchmark and answer.filter == filter for answer in answers)
        return Figure(benchmark, metric, filter, value, None, count, higher_is_better)
    stderr = float(np.std(each, ddof=1)) / math.sqrt(len(each)) if len(each) > 1 else None
    return Figure(benchmark, metric, filter, value, stderr, len(each), higher_is_better)


def by_document(answers: Sequence[BenchmarkAnswer], of: Figure) -> dict[Document, float]:
    """A metric's value for each document, in one order for all models, so that the same documents are drawn again."""
    found = {
        (answer.task, answer.document): answer.values[answer.metrics.index(of.metric)]
        for answer in answers
        if (answer.benchmark, answer.filter) == (of.benchmark, of.filter) and of.metric in answer.metrics
    }
    return dict(sorted(found.items()))


def interval(of: Figure, each: Mapping[Document, float], config: Bootstrap, seed: int) -> Interval | None:
    """Resampling documents; None where the figure is not their mean."""
    return _mean(list(each.values()), config, seed) if _is_mean(of, list(each.values())) else None


def gain(
    mine: tuple[Figure, Mapping[Document, float]],
    baseline: tuple[Figure, Mapping[Document, float]],
    config: Bootstrap,
    seed: int,
) -> Gain | None:
    """Document by document; None where either figure is no mean, or fewer than two documents are shared."""
    both = [key for key in mine[1] if key in baseline[1]]
    if len(both) < 2 or not all(_is_mean(of, list(each.values())) for of, each in (mine, baseline)):
        return None
    apart = [mine[1][key] - baseline[1][key] for key in both]
    error = float(np.std(apart, ddof=1)) / math.sqrt(len(apart))
    return Gain(_mean(apart, config, seed), SHOWS * error, len(apart))


def _is_mean(of: Figure, each: Sequence[float]) -> bool:
    return bool(each) and math.isclose(of.value, fmean(each), rel_tol=1e-9, abs_tol=1e-12)


def _mean(values: Sequence[float], config: Bootstrap, seed: int) -> Interval:
    return ratio_interval(values, [1.0] * len(values), config.confidence, config.resamples, seed)
