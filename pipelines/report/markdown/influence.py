"""Rounds in which rows were probed and a teacher was tuned."""

from collections.abc import Sequence

from pipelines.report.data import QUANTILES, InfluenceRound, ProbedRow
from pipelines.report.markdown.pieces import escaped, fenced, table
from pipelines.report.words import count, figure, measure, pairs_per_prompt, percent


def influence(rounds: Sequence[InfluenceRound]) -> list[str]:
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
    return table(head, rows, "r" * len(head))


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
    made = table(head, rows, "r" * len(head))
    told = "The teacher's loss on a preference starts at ln 2 = 0.693, where it likes neither text better than before."
    return [told, *made] if made else []


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
