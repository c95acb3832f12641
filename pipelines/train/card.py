"""README.md of a trained student: what it started from, what it learnt and from whom, and the figures of its training.

Knows Markdown and the hub's front matter. Says only what the stage's own inputs say, so that it never changes for the
same student; figures on held-out rows are the report's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.core.config import Train
from pipelines.core.stage import Done
from pipelines.core.storage import Folder

CARD = "README.md"


@dataclass(frozen=True)
class Lesson:
    """One training that is over."""

    examples: Done
    facts: Mapping[str, Any]

    def in_words(self) -> str:
        return (
            f"{self.examples.manifest['rows']:,} examples, the rows of `{self.examples.folder.name}`; "
            f"{self.facts['tokens']:,} tokens in {self.facts['steps']:,} steps."
        )


@dataclass(frozen=True)
class Origin:
    """Where a student comes from, by references as in a recipe."""

    model: str  # what it was before training, or was pruned from
    teachers: Mapping[str, str]  # name to reference
    init: Mapping[str, Any]  # facts of the stage that made its first weights
    earlier: Sequence[Lesson] = ()  # what it had learnt before, first things first
    is_encoder_decoder: bool = False


def write(folder: Folder, origin: Origin, train: Train, examples: Done, facts: Mapping[str, Any]) -> None:
    """Leave the card in the model's folder."""
    folder.write_bytes(CARD, markdown(origin, train, examples, facts).encode())


def markdown(origin: Origin, train: Train, examples: Done, facts: Mapping[str, Any]) -> str:
    """The card's text. `facts` are those of the training stage."""
    task = "text2text-generation" if origin.is_encoder_decoder else "text-generation"
    head = {"library_name": "transformers", "pipeline_tag": task, "tags": ["tutelage"]}
    teachers = [f"`{name}`: {_shown(ref)}" for name, ref in origin.teachers.items()]
    sections = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n# A student of {_shown(origin.model)}",
        _list("Made of", [_start(origin), *_loading(origin)]),
        _list("Teachers' distributions", teachers or ["None: it learnt from text alone."]),
        _list(
            "Learnt from",
            [
                *(lesson.in_words() for lesson in (*origin.earlier, Lesson(examples, facts))),
                *_own_answers(origin),
                "`tutelage trace ID` follows a row to its seed.",
                *(f"Dropped before training, {reason}: {n:,}" for reason, n in examples.manifest["dropped"].items()),
            ],
        ),
        _figures(train, facts),
        "## Settings\n\n```yaml\n" + yaml.safe_dump(_settings(train), sort_keys=False) + "```",
        "## Licence\n\nUnknown here: the terms of the model it started from, of its teachers and of its data apply.",
    ]
    return "\n\n".join(sections) + "\n"


def _own_answers(origin: Origin) -> list[str]:
    words = (
        "All but the first of these hold the student's own answers, of which its teacher told what it would have said."
    )
    return [words] if origin.earlier else []


def _start(origin: Origin) -> str:
    gone = origin.init.get("removed_layers")
    words = f"{_shown(origin.model)}, layers {', '.join(map(str, sorted(gone)))} removed" if gone else ""
    return f"{words}." if words else f"{_shown(origin.model)}."


def _loading(origin: Origin) -> list[str]:
    """What a reader could not guess."""
    if not origin.is_encoder_decoder:
        return []
    return ["An encoder-decoder: `AutoModelForSeq2SeqLM` loads it, and its encoder reads `tokenizer(text)`."]


def _shown(ref: str) -> str:
    """A reference without this machine's folders."""
    is_path = Path(ref).expanduser().is_dir()
    return f"`{Path(ref).name}`" if is_path else f"`{ref}`"


def _figures(train: Train, facts: Mapping[str, Any]) -> str:
    curve = facts["loss_curve"]
    rows = ["| loss | coefficient | first tenth | last tenth |", "|---|---:|---:|---:|"]
    part = max(1, len(curve) // 10)
    for name, coefficient in train.losses.items():
        first, last = (_mean(p["losses"].get(name) for p in points) for points in (curve[:part], curve[-part:]))
        rows.append(f"| {name} | {coefficient:g} | {first} | {last} |")
    best = ""
    if "best_step" in facts:
        best = f"\n\nThe weights are those after step {facts['best_step']}: {facts['best_validation']:.4f} on examples "
        best += "that were kept away from training."
    return "## Figures\n\n" + "\n".join(rows) + best


def _mean(values: Any) -> str:
    there = [value for value in values if value is not None]
    return f"{sum(there) / len(there):.4f}" if there else "-"


def _settings(train: Train) -> dict[str, Any]:
    return train.model_dump(mode="json", exclude_defaults=True)


def _list(title: str, lines: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines)
