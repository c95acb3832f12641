"""Means in their intervals, and how figures are spread."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from pipelines.report.charts.pieces import (
    BLUE,
    DIAMOND,
    DOT,
    MUTED,
    PAPER,
    RED,
    axis,
    bar,
    clip,
    round_ticks,
    rule,
    share,
    short,
    svg,
    tag,
    text,
)
from pipelines.report.data import Interval
from pipelines.report.words import figure, interval

_BEFORE, _STUDENT = (MUTED, PAPER, DOT), (BLUE, BLUE, DOT)  # (line, fill, outline)
_OTHER = (RED, RED, DIAMOND)


def interval_dots(title: str, rows: Mapping[str, Interval | None], better: Literal["lower", "higher"]) -> str:
    """A dot in its interval for each model, on one scale; "" for none.

    Dotted rules carry the means of the untrained student and the teachers past the trained student's; a
    pale band is the way that training moved it.
    """
    found = {model: value for model, value in rows.items() if value and math.isfinite(value.mean)}
    if not found:
        return ""
    lowest, highest = min(v.low for v in found.values()), max(v.high for v in found.values())
    room = (highest - lowest) / 50
    ticks = round_ticks(lowest - room, highest + room, most=9)
    ends = (ticks[0], ticks[-1])
    bottom = 54 * len(rows) + 6
    under = [rule(0, 100, bottom, bottom)]
    over = []
    for index, (model, value) in enumerate(rows.items()):
        y = 54 * index + 13
        over += [text(0, y, clip(model, 30), weight=600), text(100, y, interval(value), "end")]
        if value and model in found:
            y += 22
            colour, fill, outline = mark = _mark(model)
            low, mean, high = (share(v, *ends) for v in (value.low, value.mean, value.high))
            if mark is not _STUDENT:
                under += [rule(mean, mean, row, row + 28, colour, "2 3") for row in range(22, bottom, 54)]
            over += [rule(low, high, y, y, colour, width=3)]
            over += [rule(end, end, y - 5, y + 5, colour, width=2) for end in (low, high)]
            shape = tag("path", d=outline, fill=fill, stroke=colour, stroke_width="2.5")
            over.append(tag("svg", shape, x=f"{short(mean)}%", y=short(y), overflow="visible"))
    if "student" in found and "student before" in found:
        before, after = (share(found[model].mean, *ends) for model in ("student before", "student"))
        y = 54 * list(rows).index("student") + 35
        under.append(rule(before, after, y, y, BLUE, width=14, opacity=0.16))
    told = "; ".join(f"{model} {interval(value)}" for model, value in rows.items())
    desc = f"Mean with 95 % interval, {better} is better: {told}."
    return svg(title, desc, bottom + 24, [*under, *over, *axis(ticks, bottom)])


def _mark(model: str) -> tuple[str, str, str]:
    """(line, fill, outline). A student's name may go on: of which teacher it is, on which source it was measured."""
    if model.startswith("student before"):
        return _BEFORE
    return _STUDENT if model == "student" or model.startswith("student ") else _OTHER


def spreads(title: str, rows: Mapping[str, Sequence[float]]) -> str:
    """Five quantiles of each row's figures on one scale, with a dotted rule at 0; "" for none."""
    if not rows:
        return ""
    figures = [0.0, *(value for quantiles in rows.values() for value in quantiles)]
    ticks = round_ticks(min(figures), max(figures), most=9)
    ends = (ticks[0], ticks[-1])
    zero, bottom = share(0, *ends), 54 * len(rows) + 6
    parts = [rule(0, 100, bottom, bottom)]
    parts += [rule(zero, zero, row, row + 28, MUTED, "2 3") for row in range(22, bottom, 54)]
    told = []
    for index, (name, quantiles) in enumerate(rows.items()):
        y = 54 * index + 13
        low, first, middle, third, high = map(figure, quantiles)
        parts += [text(0, y, clip(name, 30), weight=600), text(100, y, f"half {first} to {third}", "end")]
        parts += _spread([share(value, *ends) for value in quantiles], y + 22)
        told.append(f"{name}: median {middle}, half between {first} and {third}, nine tenths between {low} and {high}")
    return svg(title, f"{'; '.join(told)}.", bottom + 24, [*parts, *axis(ticks, bottom)])


def _spread(places: Sequence[float], y: float) -> list[str]:
    """A line from the first quantile to the last, a bar from the second to the fourth, a dot at the middle one."""
    low, first, middle, third, high = places
    dot = tag("path", d=DOT, fill=BLUE, stroke=BLUE, stroke_width="2.5")
    return [
        rule(low, high, y, y, BLUE, width=2),
        *(rule(end, end, y - 5, y + 5, BLUE, width=2) for end in (low, high)),
        bar(first / 100, (third - first) / 100, y - 7, BLUE, 0.38),
        tag("svg", dot, x=f"{short(middle)}%", y=short(y), overflow="visible"),
    ]
