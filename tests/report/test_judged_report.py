"""A comparison in the page, the Markdown and the JSON, with hostile words in every place that a model fills."""

import json
import re
from dataclasses import replace

import pytest

from pipelines.report import charts
from pipelines.report.data import Report, to_json
from pipelines.report.interval import Interval
from pipelines.report.judged import Check, Judged, JudgedModel, Judgement, Numbers, Pairs, Spent
from pipelines.report.markdown import markdown
from pipelines.report.page import html
from pipelines.runs import judged_words, terminal

LENGTHS = (10.0, 20.0, 40.0, 80.0, 160.0)
PAIRS = Pairs(
    Interval(0.625, 0.5, 0.75), Interval(0.55, 0.4, 0.7), 4, 2, 2, 1, disagreed=0.25, first_place=0.125,
    second_place=0.0, longer=0.75, longer_won=0.8,
)  # fmt: skip


@pytest.fixture
def compared(stopped: Report, hostile: str) -> Report:
    small = JudgedModel(
        "small", False, PAIRS, Numbers(Interval(6.5, 6, 7), 8, 1), LENGTHS, Spent(135_000_000, 9, 900, 1800, 1.5, 2.25),
        {"code": (0.25, 4), "writing": (1.0, 4)}, {"code": (4.0, 4)},
    )  # fmt: skip
    big = JudgedModel("big", True, None, None, LENGTHS, Spent(None, 9, 900, 450, None, None), {}, {})
    judgement = Judgement("win", "small", "big", "code", hostile, hostile, hostile, hostile, (hostile,), "v1")
    check = Check("pairwise", 128, 0.9, 0.85, 0.05, 0.1, 0.02, 0.97)
    judged = Judged(
        "judge", "asked", "big", 9, 0.95, (check,), (small, big), (judgement, replace(judgement, result="loss"))
    )
    return replace(stopped, trains=False, judged=judged, notes=())


def rows_in(page: str) -> list[str]:
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)]


def test_bars_lie_where_they_were_worked_out_by_hand() -> None:
    svg = charts.category_bars("Win rate", {"m": {"code": 0.25}, "n": {"code": 0.5, "art": 1.0}}, 0, 1, 0.5)
    bars = re.findall(r'<rect x="0%" y="([\d.]+)" width="([\d.]+)%"', svg)
    # art: its name at 13, a place for m at 21, the bar of n at 41, its end at 61. code: its name at 83, bars from 91.
    assert [(float(y), float(width)) for y, width in bars] == [(41, 100), (91, 25), (111, 50)]
    assert '<line x1="50%" x2="50%"' in svg
    assert "From 0 to 1, dotted at 0.5: art, n 1.00; code, m 0.25; code, n 0.50." in svg
    assert charts.category_bars("Win rate", {}, 0, 1, 0.5) == ""


def test_the_page_and_the_markdown_tell_the_same(compared: Report) -> None:
    text, page = markdown(compared), html(compared)
    for line in (
        "| small | 62.5 % \\[50.0, 75.0\\] | 55.0 % \\[40.0, 70.0\\] | 4 | 2 | 2 | 1 | 6.500 \\[6.000, 7.000\\] | 1 |",
        "| big (the baseline) | – | – | – | – | – | – | – | – |",
        "| small | 12 % | 0 % | 25 % | 75 % | 80 % |",
        "| pairwise | 128 | 90 % | 85 % | 5.0 % | 10 % | 2.0 % | 97 % |",
        "| code | 25 % of 4 |",
        "| small | 10 | 20 | 40 | 80 | 160 |",
        "| small | 135,000,000 | 9 | 900 | 1,800 | 200 | 1.50 | 2.25 |",
        "| big | – | 9 | 900 | 450 | 50.0 | – | – |",
        "### small lost against big (code)",
    ):
        assert line in text, line
    rows = rows_in(page)
    assert "small 62.5 % [50.0, 75.0] 55.0 % [40.0, 70.0] 4 2 2 1 6.500 [6.000, 7.000] 1" in rows
    assert "small 12 % 0 % 25 % 75 % 80 %" in rows
    assert "pairwise 128 90 % 85 % 5.0 % 10 % 2.0 % 97 %" in rows
    assert "small 135,000,000 9 900 1,800 200 1.50 2.25" in rows
    for shown in (text, page):
        assert "tutelage trace v1" in shown
        assert "Some rows of the data" not in shown
    for chart in (
        "win-rate",
        "length-controlled-win-rate",
        "from-1-to-10",
        "win-rate-by-category",
        "length-of-answers",
    ):
        assert page.count(f'aria-labelledby="chart-{chart}-title') == 1, chart


def test_no_word_of_a_model_becomes_markup(compared: Report, hostile: str) -> None:
    page = html(compared)
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("&lt;script&gt;") >= 2 * 4
    text = markdown(compared)
    assert "\n# not a heading" not in text.replace(f"{hostile}", "")
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_a_comparison_that_has_not_come_far_says_so(stopped: Report) -> None:
    begun = replace(stopped, trains=False, judged=Judged("judge", "asked", "big", 0, 0.95))
    assert "Not yet." in markdown(begun)
    assert "No figures yet" in html(begun)
    assert "Not checked yet" in html(begun)
    assert terminal.summary(begun)


def test_other_runs_have_none_of_it(report: Report) -> None:
    for shown in (markdown(report), html(report)):
        assert "self-check" not in shown
        assert "Length-controlled" not in shown
    assert to_json(report)["judged"] is None


def test_the_json_and_the_terminal_have_it_plainly(compared: Report) -> None:
    read = json.loads(json.dumps(to_json(compared), allow_nan=False))["judged"]
    assert read["models"][0]["pairs"]["length_controlled"] == {"mean": 0.55, "low": 0.4, "high": 0.7}
    assert read["models"][0]["win_rates"] == {"code": [0.25, 4], "writing": [1.0, 4]}
    assert read["checks"][0]["repeated"] == 0.97
    assert compared.judged is not None
    head, small, big, last = judged_words.table(compared.judged)
    assert "length-controlled" in head
    assert small.split() == [
        "small", "62.5%", "(50.0%-75.0%)", "55.0%", "(40.0%-70.0%)", "6.50", "(6.00-7.00)", "2", "40",
    ]  # fmt: skip
    assert big.split() == ["big", "*", "-", "-", "-", "0", "40"]
    assert last.strip() == "* the baseline; judged by judge"


def test_what_the_small_one_saves_is_said_in_shares_of_the_baselines(compared: Report) -> None:
    judged = compared.judged
    assert judged is not None
    small, big = judged.models
    assert judged_words._saved(judged) == []  # nothing is known of the baseline
    dear = replace(big, spent=Spent(1_350_000_000, 9, 900, 450, 3.0, 45.0))
    told = judged_words._saved(replace(judged, models=(small, dear)))
    shares = "0.10 of its parameters, 0.50 of its seconds an answer, 0.05 of its cost"
    assert told == [f"Beside big, small has or takes {shares}."]
