"""The loss curve."""

from collections.abc import Sequence
from html import escape

from pipelines.report.charts.pieces import (
    MUTED,
    SERIES,
    axis_word,
    clip,
    polyline,
    round_ticks,
    rule,
    share,
    short,
    svg,
    tag,
    text,
    tick_word,
)
from pipelines.report.data import LossPoint
from pipelines.report.words import count, measure, thinned

MOST_POINTS, _MOST_BANDS = 240, 48  # of a curve; a longer one is drawn as means of neighbours


def loss_curve(points: Sequence[LossPoint]) -> str:
    """Mean loss per token by step, a line for each component, the learning rate beneath; "" for none."""
    drawn = thinned(points, MOST_POINTS)
    names = dict.fromkeys(name for point in drawn for name in point.components)
    lines = {name: [(p.step, p.components[name]) for p in drawn if name in p.components] for name in names}
    if not lines:
        return ""
    losses = [loss for line in lines.values() for _, loss in line]
    ticks = round_ticks(min(losses), max(losses), most=8)
    steps = (drawn[0].step, drawn[-1].step)
    top, height = 22 * len(lines) + 12, 210
    parts, told = [_grid(ticks, top, height), _step_axis(steps, drawn[-1].tokens, top + height)], []
    for index, (name, line) in enumerate(lines.items()):
        colour, dash = SERIES[index % len(SERIES)]
        words, y = f"{measure(line[0][1])} → {measure(line[-1][1])}", 22 * index + 8
        told.append(f"{name} {words}")
        swatch = {"x1": "-44", "x2": "-14", "y1": short(y), "y2": short(y), "stroke_dasharray": dash}
        parts.append(tag("line", **swatch, stroke=colour, stroke_width="2.5"))
        parts.append(text(0, y + 4.5, f"{clip(name, 24)} {words}", dx=-6))
        places = [(share(step, *steps), 100 - share(loss, ticks[0], ticks[-1])) for step, loss in line]
        parts.append(polyline(places, top, height, colour, dash))
        x, end = places[-1]
        parts.append(tag("circle", cx=f"{short(x)}%", cy=short(top + end * height / 100), r="3.5", fill=colour))
    parts.append(_rate_strip(drawn, steps, top + height + 60))
    parts.append(_bands(points, steps, top, height))
    desc = f"Mean loss per token, step {steps[0]} to {steps[1]}: {'; '.join(told)}."
    return svg("Loss curve", desc, top + height + 110, parts, margin=48)


def _grid(ticks: Sequence[float], top: float, height: float) -> str:
    parts = []
    for tick in ticks:
        y = top + height * (1 - share(tick, ticks[0], ticks[-1]) / 100)
        parts += [rule(0, 100, y, y), text(0, y + 4, tick_word(tick, ticks), "end", MUTED, dx=-8)]
    return "".join(parts)


def _step_axis(steps: tuple[int, int], tokens: int, y: float) -> str:
    ticks = [tick for tick in round_ticks(*steps, most=5) if steps[0] <= tick <= steps[1] and tick == int(tick)]
    if share(min(ticks, default=steps[1]), *steps) > 8:
        ticks.append(steps[0])
    words = [axis_word(share(tick, *steps), y + 19, count(int(tick))) for tick in ticks]
    told = f"step; {count(tokens)} tokens by step {count(steps[1])}"
    return "".join(words) + text(100, y + 38, told, "end", MUTED)


def _rate_strip(points: Sequence[LossPoint], steps: tuple[int, int], top: float) -> str:
    peak = max(point.learning_rate for point in points) or 1.0
    places = [(share(p.step, *steps), 100 - 100 * p.learning_rate / peak) for p in points]
    word = text(0, top, f"learning rate, at most {peak:.2g}", colour=MUTED)
    return word + rule(0, 100, top + 42, top + 42) + polyline(places, top + 12, 30, MUTED, "", 1.5)


def _bands(points: Sequence[LossPoint], steps: tuple[int, int], top: float, height: float) -> str:
    """Invisible bands that show a rule and tell their figures when pointed at."""
    shown = thinned(points, _MOST_BANDS)
    width = 100 / len(shown)
    parts = []
    for point in shown:
        x = share(point.step, *steps)
        losses = ", ".join(f"{name} {measure(loss)}" for name, loss in point.components.items())
        word = f"up to step {count(point.step)}, {count(point.tokens)} tokens: {losses}"
        place = {"x": f"{short(x - width / 2)}%", "y": short(top), "width": f"{short(width)}%", "height": short(height)}
        area = tag("rect", **place, fill="transparent")
        title = tag("title", escape(word))
        parts.append(tag("g", title + area + rule(x, x, top, top + height, MUTED), class_="band", opacity="0"))
    return "".join(parts)
