"""The report as one self-contained HTML page: no script, no request, every word of a model escaped.

Knows the template beside it. What the page says is in `data`, how its charts are drawn in `charts`, how
its numbers are written in `words`.
"""

import math
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pipelines.report import benchmarked_page, charts, judged_page, words
from pipelines.report.data import QUANTILES, ChoiceScore, ModelScore, Report


def html(report: Report) -> str:
    """The page. Its only markup is the template's and the charts'."""
    template = files("pipelines.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = _environment()
    values = {
        "report": report,
        "status_words": words.STATUS_WORDS[report.status],
        "started": words.when(report.started),
        "gap_words": words.gap_words(report.gap_closed),
        "score_charts": _choice_charts(report.choices) or _score_charts(report.scores),
        "loss_chart": Markup(charts.loss_curve(report.loss_curve)),
        "loss_rows": words.thinned(report.loss_curve, words.LOSS_ROWS),
        "loss_row_of": math.ceil(len(report.loss_curve) / words.LOSS_ROWS),
        "loss_mean_of": math.ceil(len(report.loss_curve) / charts.MOST_POINTS),
        "components": list(dict.fromkeys(name for point in report.loss_curve for name in point.components)),
        "nodes_chart": Markup(charts.timeline(report.nodes)),
        "funnel_chart": Markup(charts.funnel(report.funnel)),
        "influence_chart": Markup(
            charts.spreads("Influence of single rows", {f"round {r.round}": r.quantiles for r in report.influence})
        ),
        "quantiles": [f"{100 * share:.0f} %" for share in QUANTILES],
        "stage_seconds": sum(stage.seconds for stage in report.stages),
        "drops": words.drops_by_reason(report.dropped, report.funnel),
        "judged_section": judged_page.section(report.judged, environment) if report.judged else "",
        "benchmarked_section": benchmarked_page.section(report.benchmarked, environment) if report.benchmarked else "",
    }
    return environment.from_string(template).render(values)


def _score_charts(scores: Sequence[ModelScore]) -> list[tuple[str, str, Markup]]:
    """(title, what it measures, chart) for each measure that any model has."""
    nll = charts.interval_dots("Negative log-likelihood", {each.model: each.nll for each in scores}, "lower")
    rouge = charts.interval_dots("ROUGE-L", {each.model: each.rouge_l for each in scores}, "higher")
    told = (
        ("Negative log-likelihood", "Of the reference answers, in nats per token; lower is better.", nll),
        ("ROUGE-L", "F1 of the answers against the references; higher is better.", rouge),
    )
    return [(title, caption, Markup(svg)) for title, caption, svg in told if svg]


def _choice_charts(scores: Sequence[ChoiceScore]) -> list[tuple[str, str, Markup]]:
    """The same for models that chose."""
    likeliest = charts.interval_dots("Likeliest choice", {s.model: s.likeliest for s in scores}, "higher")
    written = charts.interval_dots("Written", {s.model: s.written for s in scores if s.written}, "higher")
    told = (
        ("Accuracy, likeliest choice", "Share of questions whose right choice the model finds likeliest.", likeliest),
        ("Accuracy, written", "Share of questions to which the model writes the right choice, word for word.", written),
    )
    return [(title, caption, Markup(svg)) for title, caption, svg in told if svg]


def _environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    filters = (
        words.count, words.duration, words.percent, words.measure, words.figure, words.interval, words.difference,
        words.share_interval,
        words.pairs_per_prompt,
    )  # fmt: skip
    environment.filters.update({each.__name__: each for each in filters})
    return environment
