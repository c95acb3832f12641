"""Benchmarks: the figures of each model, and what its endpoint showed before."""

from pipelines.report.benchmarked import Benchmarked, Measure
from pipelines.report.markdown.pieces import part, table
from pipelines.report.words import count, difference, interval, measure


def benchmarked(found: Benchmarked) -> list[str]:
    """Both parts; one that is not there yet says so."""
    return [*part("Benchmarks", _measures(found)), *part("What the endpoints showed first", _seen(found))]


def _measures(found: Benchmarked) -> list[str]:
    against = f" − {found.baseline}" if found.baseline else ""
    head = ("Benchmark", "Metric", "Model", "Value", "Interval", f"Difference{against}", "Documents")
    rows = (
        (
            each.benchmark,
            f"{each.metric}{arrow(each)}",
            model.model,
            measure(model.value),
            interval(model.interval),
            difference(model.gained),
            count(model.documents),
        )
        for each in found.measures
        for model in each.models
    )
    return table(head, rows, "lllrrrr")


def _seen(found: Benchmarked) -> list[str]:
    return table(("Model", "Check", "Seen"), ((each.model, each.check, each.saw) for each in found.seen), "lll")


def arrow(each: Measure) -> str:
    """Which way is better, where the task says."""
    return {True: " ↑", False: " ↓", None: ""}[each.higher_is_better]
