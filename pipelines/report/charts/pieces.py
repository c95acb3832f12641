"""What every chart is built of, as inline SVG.

Horizontal positions are per cent and vertical ones are pixels, so a chart fills any width and its letters keep their
size on a phone. Colours are CSS variables with defaults that stand alone; the palette is Okabe and Ito's.
"""

import math
import re
from collections.abc import Iterable, Sequence
from html import escape

INK, MUTED, RULE = "var(--ink, #1f2328)", "var(--muted, #5f6670)", "var(--rule, #d9d9d4)"
BLUE, RED, PAPER = "var(--s1, #0072b2)", "var(--s2, #d55e00)", "var(--paper, #ffffff)"
SERIES = (  # (colour, dash)
    (BLUE, ""),
    (RED, "7 4"),
    ("var(--s3, #009e73)", "2 3"),
    ("var(--s4, #cc79a7)", "9 3 2 3"),
    ("var(--s5, #8a6d00)", "4 4"),
)
DOT, DIAMOND = "M-6.5 0a6.5 6.5 0 1 0 13 0a6.5 6.5 0 1 0-13 0z", "M0-8L8 0L0 8L-8 0z"


def svg(title: str, desc: str, height: float, parts: Iterable[str], margin: int = 0) -> str:
    """`margin` pixels at the left stay free for an axis, which draws at negative x."""
    name = "chart-" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    style = f"display:block;overflow:visible;margin-left:{margin}px;width:calc(100% - {margin}px)"
    told = tag("title", escape(title), id=f"{name}-title") + tag("desc", escape(desc), id=f"{name}-desc")
    labelled = {"role": "img", "aria_labelledby": f"{name}-title {name}-desc"}
    return tag("svg", told + "".join(parts), class_="chart", **labelled, height=short(height), style=style)


def tag(name: str, inside: str = "", **attributes: str) -> str:
    """`inside` is markup already; attributes are ours, never a model's. `stroke_width` -> stroke-width."""
    told = "".join(f' {key.rstrip("_").replace("_", "-")}="{value}"' for key, value in attributes.items())
    return f"<{name}{told}>{inside}</{name}>" if inside else f"<{name}{told}/>"


def text(
    x: float,
    y: float,
    words: str,
    anchor: str = "start",
    colour: str = INK,
    dx: float = 0,
    weight: int = 400,
) -> str:
    place = {"x": f"{short(x)}%", "y": short(y), "dx": short(dx), "text_anchor": anchor}
    return tag(
        "text",
        escape(words),
        **place,
        fill=colour,
        font_size="13",
        font_weight=str(weight),
    )


def axis(ticks: Sequence[float], y: float) -> list[str]:
    """Some of the ticks beneath a scale that goes from the first to the last of them."""
    shown = ticks[:: len(ticks) // 5 + 1]
    return [axis_word(share(tick, ticks[0], ticks[-1]), y + 18, tick_word(tick, shown)) for tick in shown]


def axis_word(x: float, y: float, words: str) -> str:
    return text(x, y, words, "start" if x < 4 else "end" if x > 96 else "middle", MUTED)


def rule(
    x1: float,
    x2: float,
    y1: float,
    y2: float,
    colour: str = RULE,
    dash: str = "",
    width: float = 1,
    opacity: float = 1,
) -> str:
    ends = {"x1": f"{short(x1)}%", "x2": f"{short(x2)}%", "y1": short(y1), "y2": short(y2)}
    look = {"stroke": colour, "stroke_width": short(width), "stroke_dasharray": dash, "opacity": short(opacity)}
    return tag("line", **ends, **look)


def bar(start: float, share: float, y: float, colour: str, opacity: float) -> str:
    place = {"x": f"{short(100 * start)}%", "y": short(y), "width": f"{short(100 * share)}%", "height": "14"}
    return tag("rect", **place, fill=colour, opacity=str(opacity))


def polyline(
    places: Iterable[tuple[float, float]], y: float, height: float, colour: str, dash: str, width: float = 2
) -> str:
    """A line on a square of 100 by 100, stretched to the chart's width; it keeps its thickness."""
    look = {"stroke": colour, "stroke_width": short(width), "stroke_dasharray": dash, "stroke_linejoin": "round"}
    path = " ".join(f"{short(x)},{short(y)}" for x, y in places)
    line = tag("polyline", points=path, fill="none", vector_effect="non-scaling-stroke", **look)
    box = {"y": short(y), "width": "100%", "height": short(height), "viewBox": "0 0 100 100", "overflow": "visible"}
    return tag("svg", line, **box, preserveAspectRatio="none")


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values, evenly spaced, from at or below `low` to at or above `high`."""
    if high <= low:
        low, high = low - max(abs(low) * 0.05, 0.5), high + max(abs(high) * 0.05, 0.5)
    raw = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= raw * 0.999999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def tick_word(tick: float, ticks: Sequence[float]) -> str:
    step = ticks[1] - ticks[0]
    decimals = next(n for n in range(12) if n == 11 or abs(round(step, n) - step) < step * 1e-6)
    return f"{tick:.{decimals}f}"


def share(value: float, low: float, high: float) -> float:
    """Where `value` lies between `low` and `high`, in per cent; the middle where they are one."""
    return 100 * (value - low) / (high - low) if high > low else 50.0


def clip(words: str, most: int) -> str:
    line = " ".join(words.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def short(number: float) -> str:
    """At most two decimals, none of them a trailing nought."""
    return f"{number:.2f}".rstrip("0").rstrip(".")
