"""The card of an exported dataset: where its rows come from, in words that make no claim nobody made.

Knows Markdown and the hub's front matter. What it says is gathered elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Step:
    """One step on the way: what it kept, and what it dropped by reason."""

    name: str
    rows: int
    dropped: Mapping[str, int]


@dataclass(frozen=True)
class Provenance:
    """Where conversations come from."""

    name: str
    teachers: Sequence[str]  # what is known of each; () where the teacher is unknown
    made: Sequence[str]  # how they were made, a sentence each
    filters: Sequence[str]
    steps: Sequence[Step]
    lineage: str
    written_with: str  # this program and its version


def markdown(provenance: Provenance, rows: int, license: str | None = None) -> str:
    """README.md of a dataset folder."""
    head = {"license": license or UNKNOWN, "pretty_name": provenance.name}
    terms = license or (
        "Unknown. Nobody has stated one: ask for the terms of the seeds, and of the models that wrote the answers."
    )
    sections = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n# {provenance.name}",
        f"{rows:,} conversations. `messages` is what to train on; `turns`, `system`, `input` and `extra` hold the "
        "same and the other columns of their source, and `id` hashes the conversation.",
        _list("Teachers", provenance.teachers or [f"{UNKNOWN.capitalize()}: the source does not say who wrote it."]),
        f"## Licence\n\n{terms}",
        _list("How it was made", provenance.made),
        _list("Filters", provenance.filters or ["None but the checks that are counted below."]),
        _table(provenance.steps),
        f"## Lineage\n\n{provenance.lineage}",
        f"Written by {provenance.written_with}.",
    ]
    return "\n\n".join(sections) + "\n"


def _list(title: str, lines: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines)


def _table(steps: Sequence[Step]) -> str:
    lines = ["## Rows", "", "| step | rows kept | dropped |", "|---|---:|---|"]
    for step in steps:
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in sorted(step.dropped.items())) or "none"
        lines.append(f"| {step.name} | {step.rows:,} | {dropped.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)
