"""Benchmarks in words: the figure on top of the report, the table in the terminal, and what the figures do not say.

Knows the report's values only.
"""

from collections.abc import Sequence

from pipelines.report.benchmarked import Benchmarked, Measure, Measured
from pipelines.report.data import Headline
from pipelines.report.words import difference, measure

OWN = ("tutelage_choice", "tutelage_copy")


def headline(found: Benchmarked | None) -> tuple[Headline, ...]:
    """The first measure's best model."""
    if found is None or not found.measures:
        return ()
    first = found.measures[0]
    best = _best(first)
    return (Headline(first.name, measure(best.value), f"by {best.model}, over {best.documents:,} documents"),)


def table(found: Benchmarked) -> list[str]:
    """The lines that end a run in the terminal."""
    wide = max([24, *(len(each.name) + 2 for each in found.measures)])
    lines = [f"  {'':<{wide}}{'model':<18}{'value':>8}{'interval':>18}{'difference':>28}"]
    for each in found.measures:
        for row in each.models:
            told = f"{row.interval.low:.3f}-{row.interval.high:.3f}" if row.interval else "-"
            gained = difference(row.gained) if row.gained else "-"
            lines.append(f"  {each.name:<{wide}}{row.model:<18}{measure(row.value):>8}{told:>18}{gained:>28}")
    return [*lines, f"  differences are to {found.baseline}"] if found.baseline else lines


def notes(found: Benchmarked) -> list[str]:
    """What the figures say, and what they do not."""
    if not found.measures:
        return []
    told = [
        f"Benchmarks are those of lm-evaluation-harness {found.harness}, asked in the token ids of each model's own "
        f"tokenizer. Intervals are {found.confidence:.0%} bootstrap intervals over documents; what is no mean over "
        "documents has none."
    ]
    if any(each.benchmark in OWN for each in found.measures):
        told.append("The builtin tasks are tutelage's own, and few: figures on them compare with nobody else's.")
    if smallest := [row.gained.smallest for row in _rows(found.measures) if row.gained]:
        told.append(
            f"So many documents show a difference of {min(smallest):.3f} to {max(smallest):.3f}, depending on the "
            "measure, four times in five."
        )
    return told


def _best(each: Measure) -> Measured:
    return (min if each.higher_is_better is False else max)(each.models, key=lambda row: row.value)


def _rows(measures: Sequence[Measure]) -> list[Measured]:
    return [row for each in measures for row in each.models]
