"""One figure of several models, by category."""

from collections.abc import Mapping

from pipelines.report.charts.pieces import INK, MUTED, PAPER, SERIES, bar, clip, rule, share, short, svg, tag, text

_ROW, _GAP = 20, 22  # pixels of a bar, and between categories


def category_bars(title: str, figures: Mapping[str, Mapping[str, float]], low: float, high: float, even: float) -> str:
    """A bar for each model (the keys) in each category, on a scale from `low` to `high`; "" for none.

    A dotted rule stands at `even`, where a model is neither good nor bad.
    """
    categories = sorted({category for of_model in figures.values() for category in of_model})
    if not categories:
        return ""
    parts, told, y = [], [], 13.0
    middle = share(even, low, high)
    for category in categories:
        parts.append(text(0, y, clip(category, 30), weight=600))
        top = y + 8
        for index, (model, of_model) in enumerate(figures.items()):
            if category in of_model:
                at, value = top + _ROW * index, of_model[category]
                parts += _of_model(model, value, share(value, low, high) / 100, at, index)
                told.append(f"{category}, {model} {value:.2f}")
        bottom = top + _ROW * len(figures)
        parts.append(rule(middle, middle, top - 2, bottom - 2, MUTED, "2 3"))
        y = bottom + _GAP
    desc = f"From {low:g} to {high:g}, dotted at {even:g}: {'; '.join(told)}."
    return svg(title, desc, y - _GAP, parts)


def _of_model(model: str, value: float, length: float, y: float, index: int) -> list[str]:
    """The bar, and on paper the words that name it, so that they can be read on any colour."""
    colour, _ = SERIES[index % len(SERIES)]
    words = f"{clip(model, 24)} {value:.2f}"
    place = {"x": "4", "y": short(y + 1), "width": short(7 * len(words) + 6), "height": "12"}
    return [
        bar(0, length, y, colour, 0.5),
        tag("rect", **place, fill=PAPER, opacity="0.72"),
        text(0, y + 11, words, colour=INK, dx=7),
    ]
