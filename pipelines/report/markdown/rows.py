"""What became of the rows, what was learnt of them, and some of them to read."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from pipelines.report.data import (
    FunnelRow,
    LossPoint,
    Report,
    RoundRow,
)
from pipelines.report.markdown.pieces import escaped, fenced, table
from pipelines.report.words import (
    LOSS_ROWS,
    count,
    drops_by_reason,
    figure,
    measure,
    percent,
    thinned,
)


def funnel(steps: Sequence[FunnelRow]) -> list[str]:
    rows = ((step.label, count(step.kept), count(sum(step.dropped.values())), _reasons(step.dropped)) for step in steps)
    return table(("Step", "Kept", "Dropped", "Why"), rows, "lrrl")


def _reasons(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count(number)}" for reason, number in Counter(dropped).most_common() if number)


def loss(points: Sequence[LossPoint]) -> list[str]:
    names = list(dict.fromkeys(name for point in points for name in point.components))
    rows = [
        [
            count(p.step),
            count(p.tokens),
            *(measure(p.components[n]) if n in p.components else "–" for n in names),
            f"{p.learning_rate:.2g}",
        ]
        for p in thinned(points, LOSS_ROWS)
    ]
    size = math.ceil(len(points) / LOSS_ROWS)
    note = [f"A row is the mean of {size} steps, up to the one it names; in nats per token."] if size > 1 else []
    return note + table(["Step", "Tokens", *names, "Learning rate"], rows, "rr" + "r" * len(names) + "r")


def rounds(rounds: Sequence[RoundRow]) -> list[str]:
    head = ("Round", "Answers", "Tokens each", "Cut off", "Repeated 3-grams", "Nats per token from the teacher")
    rows = (
        (
            r.round,
            count(r.answers),
            figure(r.tokens_per_answer),
            percent(r.cut_off),
            percent(r.repeated_3grams),
            "–" if r.kd is None else measure(r.kd),
        )
        for r in rounds
    )
    return table(head, rows, "rrrrrr")


def rows_shown(report: Report) -> list[str]:
    told = []
    for row in report.examples:
        task = f"{row.instruction}\n\n{row.input}" if row.input else row.instruction
        born = ", ".join(map(escaped, row.parents)) or "no other: it was given"
        told += [
            fenced(task),
            fenced(row.answer),
            f"Born of {born}.",
            fenced(f"tutelage trace {row.instruction_id}", "sh"),
        ]
    return told


def dropped(report: Report) -> list[str]:
    told = []
    for stage, reason, number, rows in drops_by_reason(report.dropped, report.funnel):
        told.append(f"### {escaped(reason)} ({len(rows)} shown of {count(number)}, stage {escaped(stage)})")
        told += [f"{fenced(row.text)}\n\nWhy: {escaped(row.detail or reason)}" for row in rows]
    return told
