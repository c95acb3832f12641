"""Where the time and the tokens went: stages, teachers, engines."""

from pipelines.report.data import Report
from pipelines.report.markdown.pieces import table
from pipelines.report.words import count, duration, figure


def ledger(report: Report) -> list[str]:
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
    return table(head, rows, "llrrrrrr")


def nodes(report: Report) -> list[str]:
    """What the cluster had, a row for each change."""
    pools = list(report.nodes[0].nodes) if report.nodes else []
    rows = ((duration(n.seconds), n.stage or "–", *(count(n.nodes[pool]) for pool in pools)) for n in report.nodes)
    return table(("After", "Stage", *(f"Nodes of {pool}" for pool in pools)), rows, "rl" + "r" * len(pools))


def teachers(report: Report) -> list[str]:
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
    return table(head, rows, "llrrrrrrr")


def engines(report: Report) -> list[str]:
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
    return table(head, rows, "llrrrrr")
