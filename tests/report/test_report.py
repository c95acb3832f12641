"""The report's charts, page, Markdown and JSON, on reports built by hand in `conftest`."""

import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipelines.report import charts
from pipelines.report.data import ChoiceScore, FunnelRow, Interval, LossPoint, Report, to_json
from pipelines.report.markdown import markdown
from pipelines.report.page import html
from pipelines.report.words import duration, figure, gap_words, percent, thinned, when
from pipelines.runs.terminal import summary


class Page(HTMLParser):
    """The tags, attributes and text of a page, as a browser's parser would part them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_inert(page: Page, source: str) -> None:
    """Nothing in the page runs, and nothing in it asks for anything."""
    assert not page.tags & {"script", "img", "iframe", "object", "embed", "base", "form"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    asked = [value for name, value in page.attributes if name in {"src", "href", "srcset", "action", "xlink:href"}]
    assert all(value.startswith("#") or value == "data:," for value in asked)
    style = source[source.index("<style>") : source.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_a_loss_curve_of_two_points_lies_where_it_was_worked_out_by_hand() -> None:
    points = [LossPoint(0, 0, {"answer": 4.0}, 0.0), LossPoint(10, 5_000, {"answer": 2.0}, 1e-4)]
    svg = charts.loss_curve(points)
    # The axis runs from 2 to 4; the plot is 210 pixels high and begins at 22 (one legend line) + 12.
    assert 'points="0,0 100,100"' in svg
    assert '<circle cx="100%" cy="244"' in svg
    assert re.findall(r">([\d.]+)</text>", svg) == ["2.0", "2.5", "3.0", "3.5", "4.0", "0", "5", "10"]
    assert "answer 4.000 → 2.000" in svg
    assert '<svg class="chart" role="img" aria-labelledby="chart-loss-curve-title chart-loss-curve-desc"' in svg
    assert "<desc" in svg


def test_a_curve_leaves_out_what_is_not_finite_and_thins_to_means() -> None:
    points = [LossPoint(n, 10 * n, {"a": float(n), "b": math.nan}, 0.1) for n in range(1, 6)]
    assert thinned(points, 2) == [LossPoint(3, 30, {"a": 2.0}, 0.1), LossPoint(5, 50, {"a": 4.5}, 0.1)]
    assert "nan" not in charts.loss_curve(points)
    assert charts.loss_curve([LossPoint(1, 1, {"b": math.inf}, 0.1)]) == ""
    assert 'points="50,50"' in charts.loss_curve([LossPoint(1, 1, {"a": 2.0}, 0.1)])


def test_dots_and_bars_lie_where_they_were_worked_out_by_hand() -> None:
    dots = charts.interval_dots("NLL", {"student": Interval(2.0, 1.0, 3.0), "teacher": None}, "lower")
    # The axis runs from 0.5 to 3.5, so 1, 2 and 3 lie at 1/6, 1/2 and 5/6.
    assert '<line x1="16.67%" x2="83.33%" y1="35" y2="35"' in dots
    assert '<svg x="50%" y="35"' in dots
    assert "student 2.000 [1.000, 3.000]; teacher not measured." in dots

    bars = charts.funnel([FunnelRow("asked", 60, {"short": 10, "similar": 30}), FunnelRow("answered", 30, {})])
    assert re.findall(r'x="([\d.]+)%" y="\d+" width="([\d.]+)%"', bars) == [
        ("0", "60"), ("60", "30"), ("90", "10"), ("0", "30"),
    ]  # fmt: skip
    assert "asked: 60 kept of 100, 30 similar, 10 short; answered: 30 kept." in bars
    assert charts.funnel([]) == charts.interval_dots("NLL", {"teacher": None}, "lower") == ""


def test_the_words_for_numbers() -> None:
    assert [duration(s) for s in (0, 9.96, 83, 7_503)] == ["0.0 s", "10 s", "1 min 23 s", "2 h 05 min"]
    assert [figure(v) for v in (None, 0, 1_234.5, 12.34, 0.011, 0.00123456)] == [
        "–", "0", "1,230", "12.3", "0.0110", "0.00123",
    ]  # fmt: skip
    assert [percent(share) for share in (0, 0.0003, 0.082, 0.624)] == ["0 %", "0 %", "8.2 %", "62 %"]
    assert when("2026-11-21T01:34:05+02:00") == "20 November 2026, 23:34 UTC"
    assert gap_words(None) == gap_words(math.nan) == ""
    assert "went past its teacher" in gap_words(1.2)
    assert "further" in gap_words(-0.1)


def test_the_page_shows_every_part_and_never_a_models_markup(report: Report, hostile: str) -> None:
    attacked = replace(
        report,
        recipe=hostile,
        scores=tuple(replace(score, model=f"{score.model} {hostile}") for score in report.scores),
        funnel=(FunnelRow(hostile, 1, {hostile: 2}),),
        loss_curve=(LossPoint(1, 1, {hostile: 1.0, '" onload="x': 2.0}, 0.1),),
        versions={hostile: hostile},
        notes=(hostile,),
    )
    for shown in (report, attacked):
        source = html(shown)
        page = Page(source)
        assert_inert(page, source)
        assert hostile in page.text
        for words in ("62 %", "134,515,008", "tutelage trace 9d1e", shown.command, "1 word; at least 4"):
            assert words in page.text
        ids = [value for name, value in page.attributes if name == "id"]
        assert len(ids) == len(set(ids))
        assert {value[1:] for name, value in page.attributes if name == "href" and value[0] == "#"} <= set(ids)


def test_a_run_that_stopped_half_way_still_has_a_report(stopped: Report) -> None:
    failed = replace(stopped, status="failed", started="", seconds=0.0, stages=(), funnel=())
    for shown in (stopped, failed):
        page = Page(html(shown)).text
        for words in ("No scores yet", "No answers yet", "No loss curve yet", shown.command):
            assert words in page
        assert "Not yet." in markdown(shown)
        assert json.loads(json.dumps(to_json(shown)))["status"] == shown.status
    assert "310 kept of 406" in Page(html(stopped)).text


def test_a_models_text_cannot_leave_its_place_in_the_markdown(report: Report, hostile: str) -> None:
    document = markdown(replace(report, versions={hostile: hostile}, notes=(hostile,)))
    fence, outside = "", []
    for line in document.splitlines():
        run = re.match(r"`{3,}", line)
        if not fence and run:
            fence = run[0]
        elif fence and line == fence:
            fence = ""
        elif not fence:
            outside.append(line)
    assert fence == ""
    assert [line for line in outside if line.startswith("#") and "not a heading" in line] == []
    assert "<script" not in "\n".join(outside)
    rows = [line for line in outside if "not a heading" in line and line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [3]  # two cells: no bar of the text's own
    assert "| student | 30,250,000 | 2.221 \\[2.130, 2.312\\]" in document


def test_the_json_is_plain_and_a_loss_that_diverged_is_null(report: Report) -> None:
    curve = (*report.loss_curve, LossPoint(301, 500_000, {"answer": math.nan}, 0.0))
    read = json.loads(json.dumps(to_json(replace(report, loss_curve=curve)), allow_nan=False))
    assert read["loss_curve"][-1] == {
        "step": 301,
        "tokens": 500_000,
        "components": {"answer": None},
        "learning_rate": 0.0,
    }
    assert read["scores"][1]["nll"] == {"mean": 2.221, "low": 2.13, "high": 2.312}
    assert read["funnel"][1]["dropped"]["too similar"] == 214


@pytest.mark.browser
def test_a_browser_shows_the_figures_and_logs_nothing(report: Report, hostile: str, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    file = tmp_path / "report.html"
    file.write_text(html(report), encoding="utf-8")
    quiet = [
        "--disable-gpu",
        "--disable-quic",
        "--disable-background-networking",
        "--disable-component-update",
    ]
    flags = [
        "--headless",
        "--no-sandbox",
        "--no-first-run",
        "--disable-sync",
        "--enable-logging=stderr",
        *quiet,
    ]
    command = [browser, *flags, "--dump-dom", f"--user-data-dir={tmp_path / 'profile'}", file.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    page = Page(shown.stdout)
    for words in ("62 %", "2.221 [2.130, 2.312]", "1,204 kept of 1,530", "answer 3.144 → 1.565", hostile):
        assert words in page.text
    assert_inert(page, shown.stdout)
    assert "CONSOLE" not in shown.stderr


def test_only_teachers_that_had_a_pool_tell_of_its_engines(report: Report) -> None:
    lines = [line for line in markdown(report).splitlines() if line.startswith("| main")]
    assert lines == [
        "| main | answers | 1,151 | 263 | 8.00 | 0 | 0 | – | – |",
        "| main | answers | 1 min 00 s | 9 min 48 s | 35 s | 0.511 | 0.0304 |",
    ]
    text = " ".join(Page(html(report)).text.split())
    assert "9 min 48 s" in text
    assert text.count("Engines of") == 1
    without = replace(report, teachers=report.teachers[:1])
    assert "Engines of" not in markdown(without) + html(without)


def test_a_teacher_without_likelihood_and_size_has_dashes_for_them(report: Report) -> None:
    before, after, teacher = report.scores
    shown = replace(
        report, scores=(before, after, replace(teacher, nll=None, parameters=None, tokens=0)), gap_closed=None
    )
    (line,) = (line for line in markdown(shown).splitlines() if line.startswith("| teacher"))
    assert line == "| teacher | – | – | 0.251 \\[0.222, 0.280\\] | 3.1 % | 64 | 0 |"
    assert "of the gap between" not in markdown(shown) + html(shown)
    (row,) = re.findall(r"<tr><td class=\"first\"><b>teacher</b>.*?</tr>", html(shown), re.DOTALL)
    assert re.sub(r"\s*<[^>]+>\s*", "|", row).count("|–|") == 2
    table = [" ".join(line.split()) for line in summary(shown).splitlines()]
    assert "teacher - 0.251 3.1% -" in table


def test_accuracy_stands_in_place_of_losses(report: Report) -> None:
    choices = (
        ChoiceScore("student before", Interval(0.0, 0.0, 0.01), Interval(0.31, 0.26, 0.36), 135_000_000, 400),
        ChoiceScore("student", Interval(0.35, 0.30, 0.40), Interval(0.36, 0.31, 0.41), 135_000_000, 400),
        ChoiceScore("majority class", None, Interval(0.27, 0.23, 0.31), None, 400),
    )
    chosen = replace(report, choices=choices, scores=(), gap_closed=None)
    text, page = markdown(chosen), html(chosen)
    assert "## Accuracy" in text
    assert "Before, after, teacher" not in text + page
    assert "| majority class | – | 0.270 \\[0.230, 0.310\\] | – | 400 |" in text
    assert "400 multiple-choice questions" in page
    assert page.count("Accuracy, likeliest choice") == 1
    assert "36 %" in page
