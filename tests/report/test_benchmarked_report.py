"""Benchmarks in the page, the Markdown, the JSON and the terminal."""

import json
from dataclasses import replace

import pytest

from pipelines.report.benchmarked import Benchmarked, Measure, Measured, Seen
from pipelines.report.data import Report, to_json
from pipelines.report.interval import Difference, Interval
from pipelines.report.markdown import markdown
from pipelines.report.page import html
from pipelines.runs import benchmarked_words, terminal


@pytest.fixture
def measured(stopped: Report, hostile: str) -> Report:
    gained = Difference(Interval(-0.05, -0.1, 0.01), 0.08, 200)
    acc = Measure(
        "arc_easy", "acc", True,
        (
            Measured("small", 0.45, 0.035, Interval(0.45, 0.38, 0.52), 200, gained),
            Measured("big", 0.5, 0.035, Interval(0.5, 0.43, 0.57), 200, None),
        ),
    )  # fmt: skip
    perplexity = Measure("lambada", "perplexity", False, (Measured("big", 17.25, None, None, 50, None),))
    found = Benchmarked("big", "0.4.13", 0.95, (acc, perplexity), (Seen("small", "stop", hostile),))
    return replace(stopped, trains=False, benchmarked=found, notes=tuple(benchmarked_words.notes(found)))


def test_all_forms_tell_the_same(measured: Report) -> None:
    text, page = markdown(measured), html(measured)
    for line in (
        "| arc\\_easy | acc ↑ | small | 0.450 | 0.450 \\[0.380, 0.520\\] | -0.0500 \\[-0.1000, +0.0100\\] | 200 |",
        "| lambada | perplexity ↓ | big | 17.2 | not measured | – | 50 |",
    ):
        assert line in text, line
    assert "-0.0500 [-0.1000, +0.0100]" in page
    assert page.count('aria-labelledby="chart-arc-easy-acc-title') == 1
    assert 'href="#benchmarks"' in page
    for shown in (text, page):
        assert "Some rows of the data" not in shown
        assert "lm-evaluation-harness 0.4.13" in shown
        assert "difference of 0.080" in shown
    assert "<script" not in page
    head, small, big, _, last = benchmarked_words.table(measured.benchmarked)  # type: ignore[arg-type]
    assert head.split() == ["model", "value", "interval", "difference"]
    assert small.split() == ["arc_easy", "acc", "small", "0.450", "0.380-0.520", "-0.0500", "[-0.1000,", "+0.0100]"]
    assert big.split()[-2:] == ["0.430-0.570", "-"]
    assert last.strip() == "differences are to big"
    assert "arc_easy" in terminal.summary(measured)
    (card,) = benchmarked_words.headline(measured.benchmarked)
    assert (card.label, card.value, card.detail) == ("arc_easy acc", "0.500", "by big, over 200 documents")
    read = json.loads(json.dumps(to_json(measured), allow_nan=False))["benchmarked"]
    assert read["measures"][0]["models"][0]["gained"]["rows"] == 200


def test_before_the_first_task_it_says_so(stopped: Report) -> None:
    begun = replace(stopped, trains=False, benchmarked=Benchmarked("", "", 0.95))
    assert "No figures yet" in html(begun)
    assert "Not yet." in markdown(begun)
    assert benchmarked_words.notes(Benchmarked("", "", 0.95)) == []
    assert terminal.summary(begun)
