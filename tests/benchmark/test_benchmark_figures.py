"""Figures of benchmarks, worked by hand."""

import numpy as np
import pytest

from pipelines.benchmark.figures import by_document, figure, gain, interval
from pipelines.core.config import Bootstrap
from pipelines.core.records import BenchmarkAnswer

CONFIG = Bootstrap(resamples=200)


def answers(
    values: dict[int, float], metric: str = "acc", task: str = "t", filter: str = "none"
) -> list[BenchmarkAnswer]:
    return [
        BenchmarkAnswer(f"{task}{n}{filter}", "b", task, n, filter, "m", "", "", (metric,), (value,))
        for n, value in values.items()
    ]


def test_a_mean_has_an_error_and_an_interval() -> None:
    rows = [*answers({2: 1.0, 1: 0.0}), *answers({1: 1.0, 3: 1.0}, task="u"), *answers({1: 0.0}, filter="strict")]
    found = figure("b", "acc", "none", 0.75, rows, True)
    assert (found.value, found.documents, found.higher_is_better) == (0.75, 4, True)
    assert found.stderr == pytest.approx(np.std([1, 0, 1, 1], ddof=1) / 2)
    each = by_document(rows, found)
    assert list(each) == [("t", 1), ("t", 2), ("u", 1), ("u", 3)]
    told = interval(found, each, CONFIG, 17)
    assert told is not None
    assert (told.mean, told.low < 0.75 < told.high) == (0.75, True)


def test_what_is_no_mean_of_documents_has_neither() -> None:
    rows = answers({1: -2.0, 2: -4.0}, "perplexity")
    found = figure("b", "perplexity", "none", float(np.exp(3.0)), rows, False)
    assert (found.stderr, found.documents) == (None, 2)
    each = by_document(rows, found)
    assert interval(found, each, CONFIG, 17) is None
    assert gain((found, each), (found, each), CONFIG, 17) is None


def test_a_gain_is_over_the_same_documents() -> None:
    mine, other = answers({1: 1.0, 2: 1.0, 3: 0.0, 4: 1.0}), answers({1: 0.0, 2: 1.0, 3: 0.0})
    one, two = figure("b", "acc", "none", 0.75, mine, True), figure("b", "acc", "none", 1 / 3, other, True)
    found = gain((one, by_document(mine, one)), (two, by_document(other, two)), CONFIG, 17)
    assert found is not None
    assert (found.share.mean, found.documents) == (pytest.approx(1 / 3), 3)
    assert found.smallest == pytest.approx(2.8 * np.std([1, 0, 0], ddof=1) / 3**0.5)
    assert gain((one, {("t", 1): 1.0}), (two, by_document(other, two)), CONFIG, 17) is None
