"""What every form of the report says alike: its numbers in words, and the rows that stand for many.

Knows the report's data only; neither Markdown nor HTML.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pipelines.report.data import Difference, DroppedRow, FunnelRow, Interval, LossPoint, RunStatus, Taught

STATUS_WORDS: Mapping[RunStatus, str] = {
    "done": "Finished.",
    "running": "Still running. Below is what is done so far.",
    "stopped": "Stopped half way. What is done is kept; the same command goes on from there.",
    "failed": "Failed. What was done is kept; the same command goes on from there.",
}
LOSS_ROWS = 12  # of the table of the loss curve


def figure(value: float | None) -> str:
    """Three digits that count: 1234.5 -> "1,230", 0.0012345 -> "0.00123"; a dash where there is none."""
    if value is None:
        return "–"
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{round(value, digits):,.{max(0, min(digits, 9))}f}"


def count(number: int) -> str:
    """1234567 -> "1,234,567"."""
    return f"{number:,}"


def duration(seconds: float) -> str:
    """7503 -> "2 h 05 min"; 83 -> "1 min 23 s"; 4.24 -> "4.2 s"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def percent(share: float) -> str:
    """0.624 -> "62 %"; below ten per cent one decimal."""
    return f"{100 * share:.1f} %" if 0.0005 <= abs(share) < 0.0995 else f"{100 * share:.0f} %"


def measure(value: float) -> str:
    """Three decimals, from ten on one: 1.917 -> "1.917", 12.34 -> "12.3"."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def interval(value: Interval | None) -> str:
    """The mean and the ends of its interval, or that there is none."""
    if value is None or not math.isfinite(value.mean):
        return "not measured"
    return f"{measure(value.mean)} [{measure(value.low)}, {measure(value.high)}]"


def share_interval(value: Interval | None) -> str:
    """The same of a share, in per cent."""
    if value is None:
        return "not measured"
    return f"{100 * value.mean:.1f} % [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def thinned(points: Sequence[LossPoint], most: int) -> list[LossPoint]:
    """At most `most` points: each the mean of a run of neighbours, at the last one's step; no NaN, no inf."""
    size = max(1, math.ceil(len(points) / most))
    return [_mean_point(points[at : at + size]) for at in range(0, len(points), size)]


def _mean_point(run: Sequence[LossPoint]) -> LossPoint:
    found: dict[str, list[float]] = {}
    for point in run:
        for name, loss in point.components.items():
            if math.isfinite(loss):
                found.setdefault(name, []).append(loss)
    means = {name: sum(losses) / len(losses) for name, losses in found.items()}
    return LossPoint(run[-1].step, run[-1].tokens, means, run[-1].learning_rate)


def gap_words(gap_closed: float | None) -> str:
    """What the share says, in words that hold for any of its values; "" where there is none."""
    if gap_closed is None or not math.isfinite(gap_closed):
        return ""
    if gap_closed < 0:
        return "further from the teacher than before training: the gap grew, in negative log-likelihood."
    beyond = "; the student went past its teacher" if gap_closed > 1 else ""
    return f"of the gap between untrained student and teacher closed, in negative log-likelihood{beyond}."


def when(started: str) -> str:
    """An ISO time as "21 November 2026, 01:34 UTC"; "" stays "". A time without a zone is taken for UTC."""
    if not started:
        return ""
    moment = datetime.fromisoformat(started)
    moment = moment.astimezone(UTC) if moment.tzinfo else moment
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def drops_by_reason(
    dropped: Sequence[DroppedRow], funnel: Sequence[FunnelRow]
) -> list[tuple[str, str, int, list[DroppedRow]]]:
    """(stage, reason, how many rows the funnel counts for the reason, some of them), the commonest first."""
    counted = {(step.label, reason): number for step in funnel for reason, number in step.dropped.items()}
    groups: dict[tuple[str, str], list[DroppedRow]] = {}
    for row in dropped:
        groups.setdefault((row.stage, row.reason), []).append(row)
    told = [
        (stage, reason, max(counted.get((stage, reason), 0), len(rows)), rows)
        for (stage, reason), rows in groups.items()
    ]
    return sorted(told, key=lambda group: -group[2])


def pairs_per_prompt(found: Mapping[int, int]) -> str:
    """{1: 8, 2: 1} -> "8 with 1, 1 with 2"."""
    return ", ".join(f"{count(prompts)} with {pairs}" for pairs, prompts in sorted(found.items()))


def difference(value: Difference | None) -> str:
    """The mean and the ends of its interval, each with its sign."""
    if value is None:
        return "–"
    mean, low, high = value.interval.mean, value.interval.low, value.interval.high
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"


def gains(taught: Sequence[Taught]) -> list[str]:
    """What tuning changed, a sentence for each tuned teacher whose students were measured."""
    return [
        f"Held-out loss of the students of {row.teacher} minus that of the students of {taught[0].teacher}, row by "
        f"row: {difference(row.gained)} nats per token. Lower is better; {row.gained.rows} rows would show a "
        f"difference of {row.gained.smallest:.4f} four times in five."
        for row in taught
        if row.gained
    ]
