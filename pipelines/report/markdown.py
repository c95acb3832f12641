"""The report as Markdown.

A model's text stands in a fence longer than any of its own, or escaped in a table's cell: it cannot end its
place in the document. Knows the report's data only; how its numbers are written is in `words`.
"""

import html
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pipelines.report.data import (
    QUANTILES,
    ChoiceScore,
    FunnelRow,
    InfluenceRound,
    LossPoint,
    ProbedRow,
    Report,
    RoundRow,
    Sample,
    Taught,
)
from pipelines.report.words import (
    LOSS_ROWS,
    STATUS_WORDS,
    count,
    difference,
    drops_by_reason,
    duration,
    figure,
    gap_words,
    interval,
    measure,
    pairs_per_prompt,
    percent,
    thinned,
    when,
)


def markdown(report: Report) -> str:
    """The whole report as GitHub-flavoured Markdown; a part that is not there yet says so."""
    parts = [
        _head(report),
        *(_student(report) if report.trains else []),
        *(_part("Rounds of influence", _influence(report.influence)) if report.influence else []),
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
        *_result(report),
        *(_part("Answers side by side", [_sample(sample) for sample in report.samples]) if report.asks else []),
    ]


def _result(report: Report) -> list[str]:
    if report.choices:
        return _part("Accuracy", _choices(report.choices))
    title = "Students of each teacher" if report.taught else "Before, after, teacher"
    return _part(title, [*_scores(report), *_taught(report.taught)])


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


def _taught(taught: Sequence[Taught]) -> list[str]:
    head = ("Teacher", "Students", "Rows each", "Tokens each", "Nats per held-out token ↓", "Difference ↓")
    rows = (
        (t.teacher, count(t.students), count(t.rows), count(t.tokens), interval(t.loss), difference(t.gained))
        for t in taught
    )
    return _table(head, rows, "lrrrrr")


def _choices(scores: Sequence[ChoiceScore]) -> list[str]:
    head = ("Model", "Parameters", "Accuracy, likeliest choice ↑", "Accuracy, written word for word ↑", "Questions")
    rows = (
        (
            s.model,
            "–" if s.parameters is None else count(s.parameters),
            interval(s.likeliest),
            interval(s.written) if s.written else "–",
            count(s.questions),
        )
        for s in scores
    )
    return _table(head, rows, "lrrrr")


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


def _influence(rounds: Sequence[InfluenceRound]) -> list[str]:
    return [
        "How much more a step on one row lowers the student's loss on the reference rows than a step without news, in "
        "nats; above 0 the row helped. Beneath a percentage stands what so many of the rows are below; beside them how "
        "far the rows' own losses rank them alike.",
        *_spreads(rounds),
        *_preferred(rounds),
        *(part for each in rounds for part in _ends(each)),
    ]


def _spreads(rounds: Sequence[InfluenceRound]) -> list[str]:
    shares = [f"{100 * share:.0f} %" for share in QUANTILES]
    rows = (
        (
            r.round,
            count(r.rows),
            percent(r.helped),
            *map(figure, r.quantiles),
            measure(r.by_loss),
            *((count(c.rows), measure(c.spearman), percent(c.same_sign)) if (c := r.self_check) else ("–",) * 3),
        )
        for r in rounds
    )
    checked = ("Measured both ways", "Spearman", "Same sign")
    head = ("Round", "Rows probed", "Helped", *shares, "With own loss", *checked)
    return _table(head, rows, "r" * len(head))


def _preferred(rounds: Sequence[InfluenceRound]) -> list[str]:
    head = ("Round", "Preferences", "Mean margin", "Prompts probed", "With preferences", "First loss", "Last loss")
    rows = (
        (
            r.round,
            count(p.pairs),
            figure(p.mean_margin),
            count(p.prompts),
            pairs_per_prompt(p.pairs_per_prompt),
            *(map(measure, r.dpo) if r.dpo else ("–",) * 2),
        )
        for r in rounds
        if (p := r.preferred)
    )
    table = _table(head, rows, "r" * len(head))
    told = "The teacher's loss on a preference starts at ln 2 = 0.693, where it likes neither text better than before."
    return [told, *table] if table else []


def _ends(round: InfluenceRound) -> list[str]:
    """The rows that helped most and those that hurt most."""
    told = []
    for which, rows in (("helped", round.best), ("hurt", round.worst)):
        told += [f"### Round {round.round}: the rows that {which} most"] if rows else []
        told += [part for row in rows for part in _probed(row)]
    return told


def _probed(row: ProbedRow) -> list[str]:
    task = f"{row.instruction}\n\n{row.input}" if row.input else row.instruction
    shown = f", which was shown {', '.join(map(escaped, row.parents))}" if row.parents else ""
    by = f"Task {escaped(row.instruction_id)}, written by {escaped(row.teacher)}{shown}; {escaped(row.sampling)}."
    trace = fenced(f"tutelage trace {row.id}", "sh")
    return [f"**{figure(row.influence)} nats**", fenced(task), fenced(row.answer), by, trace]


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
