"""What became of the rows."""

from collections.abc import Sequence

from pipelines.report.charts.pieces import BLUE, MUTED, RED, bar, clip, short, svg, tag, text
from pipelines.report.data import FunnelRow
from pipelines.report.words import count, percent

_SHADES = (0.9, 0.6, 0.38, 0.22)  # of the dropped rows' bar, the commonest reason first


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
        parts += [text(0, y, clip(step.label, 26), weight=600), text(100, y, words, "end")]
        parts.append(bar(0, step.kept / scale, y + 9, BLUE, 1))
        at = step.kept
        for index, (number, reason) in enumerate(lost):
            shade, row = _SHADES[min(index, len(_SHADES) - 1)], y + 42 + 20 * index
            parts.append(bar(at / scale, number / scale, y + 9, RED, shade))
            parts.append(tag("rect", y=short(row - 9), width="10", height="10", fill=RED, opacity=str(shade)))
            parts.append(
                text(
                    0,
                    row,
                    f"{count(number)} {clip(reason, 34)}, {percent(number / came)}",
                    colour=MUTED,
                    dx=18,
                )
            )
            at += number
        told.append(", ".join([f"{step.label}: {words}", *(f"{count(n)} {reason}" for n, reason in lost)]))
        y += 54 + 20 * len(lost)
    return svg("Rows kept and dropped at each step", "; ".join(told) + ".", y - 14, parts)
