"""Benchmarks as a part of the page. Knows the template beside it and which chart stands for what."""

from importlib.resources import files

from jinja2 import Environment
from markupsafe import Markup

from pipelines.report import charts
from pipelines.report.benchmarked import Benchmarked, Measure


def section(benchmarked: Benchmarked, environment: Environment) -> Markup:
    """The part, with the page's own filters and escaping."""
    template = files("pipelines.report").joinpath("benchmarked.html.j2").read_text(encoding="utf-8")
    return Markup(environment.from_string(template).render(benchmarked=benchmarked, charts=_charts(benchmarked)))


def _charts(benchmarked: Benchmarked) -> list[tuple[str, str, Markup]]:
    """(title, what it shows, chart) for each metric with intervals, of which it is known which way is better."""
    told = ((each.name, _better(each), _chart(each)) for each in benchmarked.measures)
    return [(title, caption, Markup(svg)) for title, caption, svg in told if svg]


def _chart(each: Measure) -> str:
    if each.higher_is_better is None:
        return ""
    intervals = {model.model: model.interval for model in each.models}
    return charts.interval_dots(each.name, intervals, "higher" if each.higher_is_better else "lower")


def _better(each: Measure) -> str:
    return f"{'Higher' if each.higher_is_better else 'Lower'} is better."
