"""What a cluster had while a run was on it."""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

from pipelines.report.charts.pieces import BLUE, MUTED, RULE, axis_word, clip, rule, share, short, svg, tag, text
from pipelines.report.data import NodesAt
from pipelines.report.words import count, duration

_HEIGHT, _LANE = 34, 66
_NAMED_FROM = 9.0  # per cent of the width, from which on a stage's name has room
_TICKS = 5


def timeline(counts: Sequence[NodesAt]) -> str:
    """A lane for each pool, as high as it has nodes, under the stages that were under way; "" for no time at all."""
    if len(counts) < 2 or counts[-1].seconds <= counts[0].seconds:
        return ""
    ends = (counts[0].seconds, counts[-1].seconds)
    parts, told = list(_stages(counts, ends)), []
    y = 44.0
    for pool in counts[0].nodes:
        most = max(each.nodes[pool] for each in counts)
        told.append(f"{pool}: {', '.join(count(n) for n in _course(counts, pool))}")
        parts.append(text(0, y + 12, f"{clip(pool, 24)}, at most {count(most)}"))
        parts += _lane(counts, pool, most, ends, y + 20)
        y += _LANE
    ticks = [ends[0] + (ends[1] - ends[0]) * n / (_TICKS - 1) for n in range(_TICKS)]
    parts += [axis_word(share(tick, *ends), y + 14, duration(tick - ends[0])) for tick in ticks]
    return svg("Nodes of the cluster over time", "; ".join(told) + ".", y + 20, parts)


def _course(counts: Sequence[NodesAt], pool: str) -> list[int]:
    """The numbers of nodes in turn."""
    numbers = [each.nodes[pool] for each in counts]
    return numbers[:1] + [now for before, now in pairwise(numbers) if now != before]


def _stages(counts: Sequence[NodesAt], ends: tuple[float, float]) -> Iterator[str]:
    begun = [counts[0], *(now for before, now in pairwise(counts) if before.stage != now.stage)]
    starts = [*(share(each.seconds, *ends) for each in begun), 100.0]
    for each, (start, end) in zip(begun, pairwise(starts), strict=True):
        yield rule(start, start, 0, 30, RULE)
        if each.stage and end - start >= _NAMED_FROM:
            yield text(start, 20, clip(each.stage, int((end - start) * 0.9)), colour=MUTED, dx=5)


def _lane(counts: Sequence[NodesAt], pool: str, most: int, ends: tuple[float, float], y: float) -> Iterator[str]:
    for each, after in pairwise(counts):
        nodes = each.nodes[pool]
        if not nodes:
            continue
        start, end, height = share(each.seconds, *ends), share(after.seconds, *ends), _HEIGHT * nodes / most
        place = {"x": f"{short(start)}%", "y": short(y + _HEIGHT - height), "width": f"{short(end - start)}%"}
        words = f"{nodes} from {duration(each.seconds)} to {duration(after.seconds)}, {each.stage or 'between stages'}"
        yield tag("rect", tag("title", escape(words)), **place, height=short(height), fill=BLUE)
    yield rule(0, 100, y + _HEIGHT, y + _HEIGHT)
