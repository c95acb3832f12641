"""Rounds of influence and the students of tuned teachers, as the charts, the page and the Markdown show them."""

import json
import re
from dataclasses import replace

import pytest

from pipelines.report import charts
from pipelines.report.charts.pieces import DIAMOND
from pipelines.report.data import (
    Difference,
    InfluenceRound,
    Interval,
    ModelScore,
    Preferred,
    ProbedRow,
    Report,
    SelfCheck,
    Taught,
    to_json,
)
from pipelines.report.markdown import markdown
from pipelines.report.page import html
from pipelines.report.words import difference, gains, pairs_per_prompt

QUANTILES = (-0.002, -0.001, 0.0005, 0.001, 0.003)


@pytest.fixture
def tuned(report: Report, hostile: str) -> Report:
    """Two rounds, the second of which has only been probed."""
    who = ("s1", "s2"), "main (1f0c9a7be2d4)", "temperature 1"
    best = ProbedRow("i7", 0.0041, hostile, "given", hostile, "t7", *who)
    worst = replace(best, id="i0", influence=-0.0052, instruction="Sing.", parents=())
    first = InfluenceRound(
        1, 80, 0.525, QUANTILES, -0.31, (best,), (worst,), SelfCheck(8, 0.934, 0.875),
        Preferred(9, 0.00312, 20, {1: 5, 2: 2}), (0.6931, 0.6412),
    )  # fmt: skip
    changed = Difference(Interval(-0.0123, -0.02, -0.0046), 0.011, 40)
    return replace(
        report,
        gap_closed=None,
        influence=(first, InfluenceRound(2, 78, 0.5, QUANTILES, 0.0, (best,), ())),
        taught=(
            Taught("main", 1, 96, 9_120, Interval(2.25, 2.1, 2.4)),
            Taught("main after round 1", 1, 96, 9_301, Interval(2.2377, 2.09, 2.39), changed),
            Taught("main after round 2", 1, 96, 9_222),
        ),
        scores=(
            ModelScore("student before", Interval(2.9, 2.8, 3.0), None, None, 1_000, 40, 900),
            ModelScore("student of main", Interval(2.25, 2.1, 2.4), None, None, 1_000, 40, 900),
        ),
    )


def test_quantiles_lie_where_they_were_worked_out_by_hand() -> None:
    svg = charts.spreads("Influence", {"round 1": (-2.0, -1.0, 0.0, 1.0, 3.0)})
    # The axis runs from -2 to 3: -1, 0 and 1 lie at 20, 40 and 60 %.
    assert '<line x1="0%" x2="100%" y1="35" y2="35"' in svg
    assert '<rect x="20%" y="28" width="40%" height="14"' in svg
    assert '<svg x="40%" y="35"' in svg
    assert '<line x1="40%" x2="40%" y1="22" y2="50"' in svg
    assert "round 1: median 0, half between -1.00 and 1.00, nine tenths between -2.00 and 3.00." in svg
    assert 'role="img"' in svg
    assert charts.spreads("Influence", {}) == ""


def test_zero_is_on_the_scale_where_every_row_helped() -> None:
    svg = charts.spreads("Influence", {"round 1": (0.0001, 0.0002, 0.0003, 0.0004, 0.0005)})
    assert '<line x1="0%" x2="0%" y1="22"' in svg
    assert ">0.0000</text>" in svg


def test_a_student_keeps_its_mark_whoever_taught_it() -> None:
    found = dict.fromkeys(("student before", "student of main", "student of main after round 1"), Interval(2, 1, 3))
    svg = charts.interval_dots("NLL", found, "lower")
    assert svg.count(DIAMOND) == 0
    assert svg.count('fill="var(--paper') == 1
    assert "student of main after round 1</text>" in svg


def test_the_words_for_differences() -> None:
    changed = Difference(Interval(-0.0123, -0.02, 0.0046), 0.011, 40)
    assert (difference(changed), difference(None)) == ("-0.0123 [-0.0200, +0.0046]", "–")
    assert pairs_per_prompt({2: 1, 1: 1_200}) == "1,200 with 1, 1 with 2"
    first = Taught("main", 1, 9, 9)
    assert gains([first, replace(first, teacher="main after round 1")]) == []
    (told,) = gains([first, replace(first, teacher="main after round 1", gained=changed)])
    for words in ("of main after round 1 minus that of the students of main, row", "Lower is", "difference of 0.0110"):
        assert words in told


def test_the_page_and_the_markdown_have_a_row_for_each_round_and_teacher(tuned: Report, hostile: str) -> None:
    text = markdown(tuned)
    for line in (
        "| 1 | 80 | 52 % | -0.00200 | -0.00100 | 0.000500 | 0.00100 | 0.00300 | -0.310 | 8 | 0.934 | 88 % |",
        "| 2 | 78 | 50 % | -0.00200 | -0.00100 | 0.000500 | 0.00100 | 0.00300 | 0.000 | – | – | – |",
        "| 1 | 9 | 0.00312 | 20 | 5 with 1, 2 with 2 | 0.693 | 0.641 |",
        "| main | 1 | 96 | 9,120 | 2.250 \\[2.100, 2.400\\] | – |",
        "| main after round 1 | 1 | 96 | 9,301 | 2.238 \\[2.090, 2.390\\] | -0.0123 \\[-0.0200, -0.0046\\] |",
        "| main after round 2 | 1 | 96 | 9,222 | not measured | – |",
        "### Round 1: the rows that hurt most",
        "Task t7, written by main (1f0c9a7be2d4), which was shown s1, s2; temperature 1.",
    ):
        assert line in text, line
    page = html(tuned)
    rows = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)]
    assert "1 80 52 % -0.00200 -0.00100 0.000500 0.00100 0.00300 -0.310 8 0.934 88 %" in rows
    assert "1 9 0.00312 20 5 with 1, 2 with 2 0.693 0.641" in rows
    assert "main after round 1 1 96 9,301 2.238 [2.090, 2.390] -0.0123 [-0.0200, -0.0046]" in rows
    for shown in (text, page):
        assert "Students of each teacher" in shown
        assert "Before, after, teacher" not in shown
        assert "tutelage trace i7" in shown
    assert "<script" not in page
    assert "the pale band" not in page
    assert page.count('aria-labelledby="chart-influence-of-single-rows-title') == 1


def test_other_runs_have_none_of_it(report: Report) -> None:
    for shown in (markdown(report), html(report)):
        assert "Rounds of influence" not in shown
        assert "Students of each teacher" not in shown


def test_the_json_has_it_plainly(tuned: Report) -> None:
    read = json.loads(json.dumps(to_json(tuned), allow_nan=False))
    assert read["influence"][0]["preferred"]["pairs_per_prompt"] == {"1": 5, "2": 2}
    assert read["influence"][1]["dpo"] is None
    assert read["taught"][1]["gained"]["interval"] == {"mean": -0.0123, "low": -0.02, "high": -0.0046}
