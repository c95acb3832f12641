"""A comparison as a part of the page. Knows the template beside it and which chart stands for what."""

from collections.abc import Mapping
from importlib.resources import files

from jinja2 import Environment
from markupsafe import Markup

from pipelines.report import charts
from pipelines.report.judged import Judged


def section(judged: Judged, environment: Environment) -> Markup:
    """The part, with the page's own filters and escaping."""
    template = files("pipelines.report").joinpath("judged.html.j2").read_text(encoding="utf-8")
    return Markup(environment.from_string(template).render(judged=judged, charts=_charts(judged)))


def _charts(judged: Judged) -> list[tuple[str, str, Markup]]:
    """(title, what it shows, chart) for each measure that any model has."""
    pairs = {each.model: each.pairs for each in judged.models if each.pairs}
    numbers = {each.model: each.numbers for each in judged.models if each.numbers}
    rates = {each.model: _figures(each.win_rates) for each in judged.models if each.win_rates}
    means = {each.model: _figures(each.means) for each in judged.models if each.means}
    lengths = {each.model: each.lengths for each in judged.models}
    even = {model: of.length_controlled for model, of in pairs.items()}
    told = (
        (
            "Win rate",
            f"Share of pairs won against {judged.baseline}, ties counted half; higher is better.",
            charts.interval_dots("Win rate", {model: of.win_rate for model, of in pairs.items()}, "higher"),
        ),
        (
            "Length-controlled win rate",
            "The same as if all answers were of one length; ours, not a leaderboard's.",
            charts.interval_dots("Length-controlled win rate", even, "higher"),
        ),
        (
            "From 1 to 10",
            "What the judge gives each answer by itself; higher is better.",
            charts.interval_dots("From 1 to 10", {model: of.mean for model, of in numbers.items()}, "higher"),
        ),
        (
            "Win rate by category",
            "Dotted: as good as the baseline.",
            charts.category_bars("Win rate by category", rates, 0, 1, 0.5),
        ),
        ("From 1 to 10 by category", "Means.", charts.category_bars("From 1 to 10 by category", means, 0, 10, 5)),
        (
            "Length of answers",
            "In characters, all turns together: a line holds nine tenths of a model's answers, a bar half of them.",
            charts.spreads("Length of answers", lengths),
        ),
    )
    return [(title, caption, Markup(svg)) for title, caption, svg in told if svg]


def _figures(by_category: Mapping[str, tuple[float, int]]) -> dict[str, float]:
    return {category: figure for category, (figure, _) in by_category.items()}
