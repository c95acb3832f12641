"""The cluster's nodes over time, in all three forms of the report."""

import re
from dataclasses import replace

from pipelines.report import charts
from pipelines.report.data import NodesAt, Report, to_json
from pipelines.report.markdown import markdown
from pipelines.report.page import html

COUNTS = tuple(
    NodesAt(seconds, stage, {"teachers": teachers, "students": 0})
    for seconds, stage, teachers in (
        (0.0, "evolved_1", 0), (10.0, "evolved_1", 1), (20.0, "evolved_1", 2), (50.0, "<answers>", 2),
        (60.0, "<answers>", 0), (100.0, "", 0),
    )
)  # fmt: skip


def test_a_lane_is_as_wide_as_the_time_and_as_high_as_the_nodes() -> None:
    drawn = charts.timeline(COUNTS)
    bars = re.findall(r'<rect x="([\d.]+)%" y="[\d.]+" width="([\d.]+)%" height="([\d.]+)"', drawn)
    assert bars == [("10", "10", "17"), ("20", "30", "34"), ("50", "10", "34")]
    assert "teachers: 0, 1, 2, 0; students: 0." in drawn
    assert "&lt;answers&gt;" in drawn
    assert "<answers>" not in drawn


def test_without_time_there_is_nothing_to_draw() -> None:
    assert charts.timeline(()) == charts.timeline(COUNTS[:1]) == ""


def test_every_form_tells_it(report: Report) -> None:
    told = replace(report, nodes=COUNTS)
    assert "Nodes of the cluster over time" in html(told)
    assert "Nodes of the cluster over time" not in html(report)
    assert re.search(r"\| 20 s \| evolved\S*1 \| 2 \| 0 \|", markdown(told))
    first = to_json(told)["nodes"][1]
    assert first == {"seconds": 10.0, "stage": "evolved_1", "nodes": {"teachers": 1, "students": 0}}
