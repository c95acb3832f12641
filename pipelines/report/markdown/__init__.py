"""The report as Markdown.

A model's text stands in a fence longer than any of its own, or escaped in a table's cell: it cannot end its
place in the document. Knows the report's data only; how its numbers are written is in `words`.
"""

from pipelines.report.data import Report
from pipelines.report.markdown import benchmarked, influence, judged, ledger, rows, scores
from pipelines.report.markdown.pieces import escaped, fenced, part, table
from pipelines.report.words import STATUS_WORDS, duration, when

__all__ = ["escaped", "fenced", "markdown"]


def markdown(report: Report) -> str:
    """The whole report as GitHub-flavoured Markdown; a part that is not there yet says so."""
    parts = [
        _head(report),
        *(scores.student(report) if report.trains else []),
        *(judged.judged(report.judged) if report.judged else []),
        *(benchmarked.benchmarked(report.benchmarked) if report.benchmarked else []),
        *(part("Rounds of influence", influence.influence(report.influence)) if report.influence else []),
        *part("What became of the rows", rows.funnel(report.funnel)),
        *(part("Loss", rows.loss(report.loss_curve)) if report.trains else []),
        *(part("Rounds of own answers", rows.rounds(report.rounds)) if report.rounds else []),
        *part(
            "Where the time and the tokens went",
            [*ledger.ledger(report), *ledger.nodes(report), *ledger.teachers(report), *ledger.engines(report)],
        ),
        *([] if report.compares else _shown(report)),
        *part("Some rows that were dropped", rows.dropped(report)),
        *part("Repeat it", [fenced(report.command, "sh"), fenced(report.recipe_yaml, "yaml")]),
        *part("Versions", table(("", "Version"), report.versions.items(), "ll")),
        *part("Notes", ["\n".join(f"- {escaped(note)}" for note in report.notes)] if report.notes else ["None."]),
    ]
    return "\n\n".join(parts) + "\n"


def _head(report: Report) -> str:
    begun = f"Started {when(report.started)}, took {duration(report.seconds)}." if report.started else "Not started."
    where = f"Run {escaped(report.run_key)} in {escaped(report.runs_uri)}."
    told = [f"# {escaped(report.recipe)}", f"**{STATUS_WORDS[report.status]}** {begun} {where}"]
    return "\n\n".join([*told, *table(("", "", ""), ((h.label, h.value, h.detail) for h in report.headline), "lrl")])


def _shown(report: Report) -> list[str]:
    title = "Some rows the student was trained on" if report.trains else "Some rows of the data"
    return part(title, rows.rows_shown(report))
