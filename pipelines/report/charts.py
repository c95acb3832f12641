"""The report's charts as inline SVG. Pure functions of values.

Knows no HTML page: every chart carries its own title, description and sizes, and takes colours from CSS
variables with defaults that stand alone. Horizontal positions are per cent and vertical ones are pixels, so
a chart fills any width and its letters keep their size on a phone. The palette is Okabe and Ito's; a shape or
a dash says again what a colour says.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Literal

from pipelines.report.data import FunnelRow, Interval, LossPoint
from pipelines.report.words import count, figure, interval, measure, percent, thinned

_INK, _MUTED, _RULE = "var(--ink, #1f2328)", "var(--muted, #5f6670)", "var(--rule, #d9d9d4)"
_BLUE, _RED, _PAPER = "var(--s1, #0072b2)", "var(--s2, #d55e00)", "var(--paper, #ffffff)"
_SERIES = (  # (colour, dash)
    (_BLUE, ""),
    (_RED, "7 4"),
    ("var(--s3, #009e73)", "2 3"),
    ("var(--s4, #cc79a7)", "9 3 2 3"),
    ("var(--s5, #8a6d00)", "4 4"),
)
_DOT, _DIAMOND = "M-6.5 0a6.5 6.5 0 1 0 13 0a6.5 6.5 0 1 0-13 0z", "M0-8L8 0L0 8L-8 0z"
_BEFORE, _STUDENT = (_MUTED, _PAPER, _DOT), (_BLUE, _BLUE, _DOT)  # (line, fill, outline)
_OTHER = (_RED, _RED, _DIAMOND)
_SHADES = (0.9, 0.6, 0.38, 0.22)  # of the dropped rows' bar, the commonest reason first
MOST_POINTS, _MOST_BANDS = 240, 48  # of a curve; a longer one is drawn as means of neighbours


# --- the loss curve ------------------------------------------------------------------------------------


def loss_curve(points: Sequence[LossPoint]) -> str:
    """Mean loss per token by step, a line for each component, the learning rate beneath; "" for none."""
    drawn = thinned(points, MOST_POINTS)
    names = dict.fromkeys(name for point in drawn for name in point.components)
    lines = {name: [(p.step, p.components[name]) for p in drawn if name in p.components] for name in names}
    if not lines:
        return ""
    losses = [loss for line in lines.values() for _, loss in line]
    ticks = _ticks(min(losses), max(losses), most=8)
    steps = (drawn[0].step, drawn[-1].step)
    top, height = 22 * len(lines) + 12, 210
    parts, told = [_grid(ticks, top, height), _step_axis(steps, drawn[-1].tokens, top + height)], []
    for index, (name, line) in enumerate(lines.items()):
        colour, dash = _SERIES[index % len(_SERIES)]
        words, y = f"{measure(line[0][1])} → {measure(line[-1][1])}", 22 * index + 8
        told.append(f"{name} {words}")
        swatch = {"x1": "-44", "x2": "-14", "y1": _n(y), "y2": _n(y), "stroke_dasharray": dash}
        parts.append(_tag("line", **swatch, stroke=colour, stroke_width="2.5"))
        parts.append(_text(0, y + 4.5, f"{_clip(name, 24)} {words}", dx=-6))
        places = [(_share(step, *steps), 100 - _share(loss, ticks[0], ticks[-1])) for step, loss in line]
        parts.append(_polyline(places, top, height, colour, dash))
        x, end = places[-1]
        parts.append(_tag("circle", cx=f"{_n(x)}%", cy=_n(top + end * height / 100), r="3.5", fill=colour))
    parts.append(_rate_strip(drawn, steps, top + height + 60))
    parts.append(_bands(points, steps, top, height))
    desc = f"Mean loss per token, step {steps[0]} to {steps[1]}: {'; '.join(told)}."
    return _svg("Loss curve", desc, top + height + 110, parts, margin=48)


def _grid(ticks: Sequence[float], top: float, height: float) -> str:
    parts = []
    for tick in ticks:
        y = top + height * (1 - _share(tick, ticks[0], ticks[-1]) / 100)
        parts += [_rule(0, 100, y, y), _text(0, y + 4, _tick_word(tick, ticks), "end", _MUTED, dx=-8)]
    return "".join(parts)


def _step_axis(steps: tuple[int, int], tokens: int, y: float) -> str:
    ticks = [tick for tick in _ticks(*steps, most=5) if steps[0] <= tick <= steps[1] and tick == int(tick)]
    if _share(min(ticks, default=steps[1]), *steps) > 8:
        ticks.append(steps[0])
    words = [_axis_word(_share(tick, *steps), y + 19, count(int(tick))) for tick in ticks]
    told = f"step; {count(tokens)} tokens by step {count(steps[1])}"
    return "".join(words) + _text(100, y + 38, told, "end", _MUTED)


def _rate_strip(points: Sequence[LossPoint], steps: tuple[int, int], top: float) -> str:
    peak = max(point.learning_rate for point in points) or 1.0
    places = [(_share(p.step, *steps), 100 - 100 * p.learning_rate / peak) for p in points]
    word = _text(0, top, f"learning rate, at most {peak:.2g}", colour=_MUTED)
    return word + _rule(0, 100, top + 42, top + 42) + _polyline(places, top + 12, 30, _MUTED, "", 1.5)


def _bands(points: Sequence[LossPoint], steps: tuple[int, int], top: float, height: float) -> str:
    """Invisible bands that show a rule and tell their figures when pointed at."""
    shown = thinned(points, _MOST_BANDS)
    width = 100 / len(shown)
    parts = []
    for point in shown:
        x = _share(point.step, *steps)
        losses = ", ".join(f"{name} {measure(loss)}" for name, loss in point.components.items())
        word = f"up to step {count(point.step)}, {count(point.tokens)} tokens: {losses}"
        place = {"x": f"{_n(x - width / 2)}%", "y": _n(top), "width": f"{_n(width)}%", "height": _n(height)}
        area = _tag("rect", **place, fill="transparent")
        title = _tag("title", escape(word))
        parts.append(_tag("g", title + area + _rule(x, x, top, top + height, _MUTED), class_="band", opacity="0"))
    return "".join(parts)


# --- intervals and the funnel --------------------------------------------------------------------------


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
    ticks = _ticks(lowest - room, highest + room, most=9)
    ends = (ticks[0], ticks[-1])
    bottom = 54 * len(rows) + 6
    under = [_rule(0, 100, bottom, bottom)]
    over = []
    for index, (model, value) in enumerate(rows.items()):
        y = 54 * index + 13
        over += [_text(0, y, _clip(model, 30), weight=600), _text(100, y, interval(value), "end")]
        if value and model in found:
            y += 22
            colour, fill, outline = mark = _mark(model)
            low, mean, high = (_share(v, *ends) for v in (value.low, value.mean, value.high))
            if mark is not _STUDENT:
                under += [_rule(mean, mean, row, row + 28, colour, "2 3") for row in range(22, bottom, 54)]
            over += [_rule(low, high, y, y, colour, width=3)]
            over += [_rule(end, end, y - 5, y + 5, colour, width=2) for end in (low, high)]
            shape = _tag("path", d=outline, fill=fill, stroke=colour, stroke_width="2.5")
            over.append(_tag("svg", shape, x=f"{_n(mean)}%", y=_n(y), overflow="visible"))
    if "student" in found and "student before" in found:
        before, after = (_share(found[model].mean, *ends) for model in ("student before", "student"))
        y = 54 * list(rows).index("student") + 35
        under.append(_rule(before, after, y, y, _BLUE, width=14, opacity=0.16))
    told = "; ".join(f"{model} {interval(value)}" for model, value in rows.items())
    desc = f"Mean with 95 % interval, {better} is better: {told}."
    return _svg(title, desc, bottom + 24, [*under, *over, *_axis(ticks, bottom)])


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
    ticks = _ticks(min(figures), max(figures), most=9)
    ends = (ticks[0], ticks[-1])
    zero, bottom = _share(0, *ends), 54 * len(rows) + 6
    parts = [_rule(0, 100, bottom, bottom)]
    parts += [_rule(zero, zero, row, row + 28, _MUTED, "2 3") for row in range(22, bottom, 54)]
    told = []
    for index, (name, quantiles) in enumerate(rows.items()):
        y = 54 * index + 13
        low, first, middle, third, high = map(figure, quantiles)
        parts += [_text(0, y, _clip(name, 30), weight=600), _text(100, y, f"half {first} to {third}", "end")]
        parts += _spread([_share(value, *ends) for value in quantiles], y + 22)
        told.append(f"{name}: median {middle}, half between {first} and {third}, nine tenths between {low} and {high}")
    return _svg(title, f"{'; '.join(told)}.", bottom + 24, [*parts, *_axis(ticks, bottom)])


def _spread(places: Sequence[float], y: float) -> list[str]:
    """A line from the first quantile to the last, a bar from the second to the fourth, a dot at the middle one."""
    low, first, middle, third, high = places
    dot = _tag("path", d=_DOT, fill=_BLUE, stroke=_BLUE, stroke_width="2.5")
    return [
        _rule(low, high, y, y, _BLUE, width=2),
        *(_rule(end, end, y - 5, y + 5, _BLUE, width=2) for end in (low, high)),
        _bar(first / 100, (third - first) / 100, y - 7, _BLUE, 0.38),
        _tag("svg", dot, x=f"{_n(middle)}%", y=_n(y), overflow="visible"),
    ]


def funnel(steps: Sequence[FunnelRow]) -> str:
    """A bar for each step on one scale: kept, then dropped, each reason in figures beneath. "" for none."""
    scale = max((step.kept + sum(step.dropped.values()) for step in steps), default=0)
    if not scale:
        return ""
    y, parts, told = 13, [], []
    for step in steps:
        came = step.kept + sum(step.dropped.values())
        lost = sorted(((n, reason) for reason, n in step.dropped.items() if n), reverse=True)
        words = f"{count(step.kept)} kept of {count(came)}" if lost else f"{count(step.kept)} kept"
        parts += [_text(0, y, _clip(step.label, 26), weight=600), _text(100, y, words, "end")]
        parts.append(_bar(0, step.kept / scale, y + 9, _BLUE, 1))
        at = step.kept
        for index, (number, reason) in enumerate(lost):
            shade, row = _SHADES[min(index, len(_SHADES) - 1)], y + 42 + 20 * index
            parts.append(_bar(at / scale, number / scale, y + 9, _RED, shade))
            parts.append(_tag("rect", y=_n(row - 9), width="10", height="10", fill=_RED, opacity=str(shade)))
            parts.append(
                _text(
                    0,
                    row,
                    f"{count(number)} {_clip(reason, 34)}, {percent(number / came)}",
                    colour=_MUTED,
                    dx=18,
                )
            )
            at += number
        told.append(", ".join([f"{step.label}: {words}", *(f"{count(n)} {reason}" for n, reason in lost)]))
        y += 54 + 20 * len(lost)
    return _svg("Rows kept and dropped at each step", "; ".join(told) + ".", y - 14, parts)


# --- the pieces of every chart -------------------------------------------------------------------------


def _svg(title: str, desc: str, height: float, parts: Iterable[str], margin: int = 0) -> str:
    """`margin` pixels at the left stay free for an axis, which draws at negative x."""
    name = "chart-" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    style = f"display:block;overflow:visible;margin-left:{margin}px;width:calc(100% - {margin}px)"
    told = _tag("title", escape(title), id=f"{name}-title") + _tag("desc", escape(desc), id=f"{name}-desc")
    labelled = {"role": "img", "aria_labelledby": f"{name}-title {name}-desc"}
    return _tag("svg", told + "".join(parts), class_="chart", **labelled, height=_n(height), style=style)


def _tag(name: str, inside: str = "", **attributes: str) -> str:
    """`inside` is markup already; attributes are ours, never a model's. `stroke_width` -> stroke-width."""
    told = "".join(f' {key.rstrip("_").replace("_", "-")}="{value}"' for key, value in attributes.items())
    return f"<{name}{told}>{inside}</{name}>" if inside else f"<{name}{told}/>"


def _text(
    x: float,
    y: float,
    words: str,
    anchor: str = "start",
    colour: str = _INK,
    dx: float = 0,
    weight: int = 400,
) -> str:
    place = {"x": f"{_n(x)}%", "y": _n(y), "dx": _n(dx), "text_anchor": anchor}
    return _tag(
        "text",
        escape(words),
        **place,
        fill=colour,
        font_size="13",
        font_weight=str(weight),
    )


def _axis(ticks: Sequence[float], y: float) -> list[str]:
    """Some of the ticks beneath a scale that goes from the first to the last of them."""
    shown = ticks[:: len(ticks) // 5 + 1]
    return [_axis_word(_share(tick, ticks[0], ticks[-1]), y + 18, _tick_word(tick, shown)) for tick in shown]


def _axis_word(x: float, y: float, words: str) -> str:
    return _text(x, y, words, "start" if x < 4 else "end" if x > 96 else "middle", _MUTED)


def _rule(
    x1: float,
    x2: float,
    y1: float,
    y2: float,
    colour: str = _RULE,
    dash: str = "",
    width: float = 1,
    opacity: float = 1,
) -> str:
    ends = {"x1": f"{_n(x1)}%", "x2": f"{_n(x2)}%", "y1": _n(y1), "y2": _n(y2)}
    look = {"stroke": colour, "stroke_width": _n(width), "stroke_dasharray": dash, "opacity": _n(opacity)}
    return _tag("line", **ends, **look)


def _bar(start: float, share: float, y: float, colour: str, opacity: float) -> str:
    place = {"x": f"{_n(100 * start)}%", "y": _n(y), "width": f"{_n(100 * share)}%", "height": "14"}
    return _tag("rect", **place, fill=colour, opacity=str(opacity))


def _polyline(
    places: Iterable[tuple[float, float]], y: float, height: float, colour: str, dash: str, width: float = 2
) -> str:
    """A line on a square of 100 by 100, stretched to the chart's width; it keeps its thickness."""
    look = {"stroke": colour, "stroke_width": _n(width), "stroke_dasharray": dash, "stroke_linejoin": "round"}
    path = " ".join(f"{_n(x)},{_n(y)}" for x, y in places)
    line = _tag("polyline", points=path, fill="none", vector_effect="non-scaling-stroke", **look)
    box = {"y": _n(y), "width": "100%", "height": _n(height), "viewBox": "0 0 100 100", "overflow": "visible"}
    return _tag("svg", line, **box, preserveAspectRatio="none")


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values, evenly spaced, from at or below `low` to at or above `high`."""
    if high <= low:
        low, high = low - max(abs(low) * 0.05, 0.5), high + max(abs(high) * 0.05, 0.5)
    raw = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= raw * 0.999999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def _tick_word(tick: float, ticks: Sequence[float]) -> str:
    step = ticks[1] - ticks[0]
    decimals = next(n for n in range(12) if n == 11 or abs(round(step, n) - step) < step * 1e-6)
    return f"{tick:.{decimals}f}"


def _share(value: float, low: float, high: float) -> float:
    """Where `value` lies between `low` and `high`, in per cent; the middle where they are one."""
    return 100 * (value - low) / (high - low) if high > low else 50.0


def _clip(words: str, most: int) -> str:
    line = " ".join(words.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def _n(number: float) -> str:
    """At most two decimals, none of them a trailing nought."""
    return f"{number:.2f}".rstrip("0").rstrip(".")
