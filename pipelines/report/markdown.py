"""The report as Markdown, and the words for its numbers, which the page and the charts write too.

A model's text stands in a fence longer than any of its own, or escaped in a table's cell: it cannot end its
place in the document. Knows the report's data only.
"""

import html
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from pipelines.report.data import DroppedRow, FunnelRow, Interval, LossPoint, Report, RoundRow, RunStatus, Sample

STATUS_WORDS: Mapping[RunStatus, str] = {
    "done": "Finished.",
    "running": "Still running. Below is what is done so far.",
    "stopped": "Stopped half way. What is done is kept; the same command goes on from there.",
    "failed": "Failed. What was done is kept; the same command goes on from there.",
}
LOSS_ROWS = 12  # of the table of the loss curve


def markdown(report: Report) -> str:
    """The whole report as GitHub-flavoured Markdown; a part that is not there yet says so."""
    parts = [
        _head(report),
        *(_student(report) if report.trains else []),
        *_part("What became of the rows", _funnel(report.funnel)),
        *(_part("Loss", _loss(report.loss_curve)) if report.trains else []),
        *(_part("Rounds of own answers", _rounds(report.rounds)) if report.rounds else []),
        *_part("Where the time and the tokens went", [*_ledger(report), *_teachers(report), *_engines(report)]),
        *_part("Some rows the student was trained on" if report.trains else "Some rows of the data", _rows(report)),
        *_part("Some rows that were dropped", _dropped(report)),
        *_part("Repeat it", [fenced(report.command, "sh"), fenced(report.recipe_yaml, "yaml")]),
        *_part("Versions", _table(("", "Version"), report.versions.items(), "ll")),
        *_part("Notes", ["\n".join(f"- {escaped(note)}" for note in report.notes)] if report.notes else ["None."]),
    ]
    return "\n\n".join(parts) + "\n"


def fenced(text: str, kind: str = "text") -> str:
    """`text` as a code block that nothing in it can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{text.rstrip()}\n{fence}"


def escaped(text: object) -> str:
    """`text` on one line, with nothing that Markdown or HTML reads as markup."""
    line = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", line)


def _part(title: str, parts: Iterable[str]) -> list[str]:
    return [f"## {title}", *(list(parts) or ["Not yet."])]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], align: str) -> list[str]:
    """One table, or nothing where there are no rows. `align` has a letter, l or r, for each column."""
    lines = [[escaped(cell) for cell in row] for row in rows]
    if not lines:
        return []
    rule = ["--:" if letter == "r" else ":--" for letter in align]
    heads = [escaped(cell) for cell in head]
    return ["\n".join("| " + " | ".join(line) + " |" for line in [heads, rule, *lines])]


def _head(report: Report) -> str:
    begun = f"Started {when(report.started)}, took {duration(report.seconds)}." if report.started else "Not started."
    where = f"Run {escaped(report.run_key)} in {escaped(report.runs_uri)}."
    told = [f"# {escaped(report.recipe)}", f"**{STATUS_WORDS[report.status]}** {begun} {where}"]
    return "\n\n".join([*told, *_table(("", "", ""), ((h.label, h.value, h.detail) for h in report.headline), "lrl")])


def _student(report: Report) -> list[str]:
    return [
        *_part("Before, after, teacher", _scores(report)),
        *(_part("Answers side by side", [_sample(sample) for sample in report.samples]) if report.asks else []),
    ]


def _scores(report: Report) -> list[str]:
    gap = gap_words(report.gap_closed)
    told = [f"**{percent(abs(report.gap_closed))}** {gap}"] if gap and report.gap_closed is not None else []
    head = (
        "Model",
        "Parameters",
        "Nats per token ↓",
        "ROUGE-L ↑",
        "Repeated 3-grams ↓",
        "Tasks",
        "Tokens scored",
    )
    rows = (
        (
            s.model,
            "–" if s.parameters is None else count(s.parameters),
            interval(s.nll) if s.nll else "–",
            interval(s.rouge_l),
            "–" if s.repeated_3grams is None else percent(s.repeated_3grams),
            count(s.rows),
            count(s.tokens),
        )
        for s in report.scores
    )
    return told + _table(head, rows, "lrrrrrr")


def _sample(sample: Sample) -> str:
    said = {
        "task": sample.instruction,
        "input": sample.input,
        **sample.answers,
        "reference": sample.reference,
    }
    shown = [f"**{escaped(who)}**\n\n{fenced(text)}" for who, text in said.items() if text or who in sample.answers]
    return "\n\n".join([f"### Task {escaped(sample.instruction_id)}", *shown])


def _funnel(steps: Sequence[FunnelRow]) -> list[str]:
    rows = ((step.label, count(step.kept), count(sum(step.dropped.values())), _reasons(step.dropped)) for step in steps)
    return _table(("Step", "Kept", "Dropped", "Why"), rows, "lrrl")


def _reasons(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count(number)}" for reason, number in Counter(dropped).most_common() if number)


def _loss(points: Sequence[LossPoint]) -> list[str]:
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
    return note + _table(["Step", "Tokens", *names, "Learning rate"], rows, "rr" + "r" * len(names) + "r")


def _rounds(rounds: Sequence[RoundRow]) -> list[str]:
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
    return _table(head, rows, "rrrrrr")


def _ledger(report: Report) -> list[str]:
    head = (
        "Stage",
        "Status",
        "Rows",
        "Dropped",
        "Prompt tokens",
        "Output tokens",
        "Time",
        "of it starting up",
    )
    rows = (
        (
            s.name,
            s.status,
            count(s.rows),
            count(s.dropped),
            count(s.prompt_tokens),
            count(s.output_tokens),
            duration(s.seconds),
            duration(s.start_up_seconds),
        )
        for s in report.stages
    )
    return _table(head, rows, "llrrrrrr")


def _rows(report: Report) -> list[str]:
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


def _dropped(report: Report) -> list[str]:
    told = []
    for stage, reason, number, rows in drops_by_reason(report.dropped, report.funnel):
        told.append(f"### {escaped(reason)} ({len(rows)} shown of {count(number)}, stage {escaped(stage)})")
        told += [f"{fenced(row.text)}\n\nWhy: {escaped(row.detail or reason)}" for row in rows]
    return told


def _teachers(report: Report) -> list[str]:
    head = (
        "Teacher",
        "Stage",
        "Rows kept",
        "Tokens per row",
        "Seconds per row",
        "Retries",
        "Retries per row",
        "Cost",
        "Cost per row",
    )
    rows = (
        (
            t.teacher,
            t.stage,
            count(t.kept),
            figure(t.tokens_per_row),
            figure(t.seconds_per_row),
            count(t.retries),
            figure(t.retries_per_row),
            figure(t.cost),
            figure(t.cost_per_row),
        )
        for t in report.teachers
    )
    return _table(head, rows, "llrrrrrrr")


def _engines(report: Report) -> list[str]:
    head = ("Engines of", "Stage", "Starting", "Busy", "Idle", "Busy seconds per row", "Idle seconds per row")
    rows = (
        (
            t.teacher,
            t.stage,
            duration(t.engines.starting),
            duration(t.engines.busy),
            duration(t.engines.idle),
            figure(t.engines.busy_per_row),
            figure(t.engines.idle_per_row),
        )
        for t in report.teachers
        if t.engines
    )
    return _table(head, rows, "llrrrrr")


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
