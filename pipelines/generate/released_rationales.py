"""Rationales that are there already: TinyLLM's release of two teachers', or a JSON lines file of anyone's.

Knows their shapes, and whose question each one is. The release has its rows in the order of its questions, of which a
reader may leave some out; but each row says its question again, and is known by that. Does not judge what it says.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipelines.core.config import FromFile, Released
from pipelines.core.errors import UserError
from pipelines.core.hashing import file_digest, key_of
from pipelines.core.records import Question
from pipelines.formats.json_rows import read_json
from pipelines.generate.conclusions import lettered
from pipelines.generate.cue import after_cue

Name = tuple[Literal["id", "stem", "asked"], str]  # what a question is known by
_NUMBERED = re.compile(r"train_CoT_(\d+)\.json")
_QUESTION, _OPTIONS, _LLAMA, _ANSWER = "\n\nQ:", "Answer Choices:", "llama rationale:", "Thus, the answer is"
_NOTHING = "nan"  # what the release has where its LLaMA said nothing
_WANTED = {
    "released": "the folder `llm` of TinyLLM's release, with its train_CoT_0.json and so on",
    "file": "a file of JSON lines {id, rationale} or {question, rationale}",
}


@dataclass
class Found:
    """What was read of a source."""

    texts: dict[str, str] = field(default_factory=dict)  # question id -> its first rationale, "" for an empty one
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # (where, what stands there)
    repeated: int = 0  # rationales of questions that had one already
    ambiguous: int = 0  # of one of several questions
    elsewhere: int = 0  # of none of the questions

    def take(self, ids: set[str], text: str) -> None:
        if len(ids) != 1:
            self.ambiguous += len(ids) > 1
            self.elsewhere += not ids
        elif (id := min(ids)) in self.texts:
            self.repeated += 1
        else:
            self.texts[id] = text

    def facts(self) -> dict[str, int]:
        return {"repeated": self.repeated, "ambiguous": self.ambiguous, "elsewhere": self.elsewhere}


def content_key(config: Released | FromFile, name: str, beside: Path) -> str:
    """What of a source's content enters a stage's key. UserError where there is nothing to read."""
    files = [file_digest(file) for file in _files(config, name, beside)]
    return key_of(config.model_dump(include={"kind", "of"}), files)


def read(config: Released | FromFile, name: str, beside: Path, questions: Sequence[Question]) -> Found:
    """What the source `name` has of these questions. `beside` is the folder `llm` beside them."""
    found, ids = Found(), _ids(questions)
    for file in _files(config, name, beside):
        for row in read_json(file):
            said = None if row.fault else _parsed(config, row.value)
            if said is None:
                found.unreadable.append((f"{file.name}, {row.where}", str(row.value)))
            else:
                found.take(ids[said[0]], said[1])
    if not found.texts:
        raise UserError(
            f"rationales.sources.{name}.path: nothing there is of any of the {len(questions)} questions to learn from; "
            "give the rationales of the questions in data.path"
        )
    return found


def _files(config: Released | FromFile, name: str, beside: Path) -> list[Path]:
    """What there is to read, in its order."""
    path = Path(config.path).expanduser() if config.path else beside
    files = _numbered(path) if isinstance(config, Released) else [path] if path.is_file() else []
    if not files:
        wanted = _WANTED[config.kind]
        raise UserError(f"rationales.sources.{name}.path: there is nothing to read at {str(path)!r}; give {wanted}")
    return files


def _numbered(folder: Path) -> list[Path]:
    numbers = {int(match[1]): file for file in folder.glob("*.json") if (match := _NUMBERED.fullmatch(file.name))}
    return [numbers[n] for n in sorted(numbers)]


def _ids(questions: Sequence[Question]) -> defaultdict[Name, set[str]]:
    """Which questions are meant by a name."""
    ids: defaultdict[Name, set[str]] = defaultdict(set)
    for question in questions:
        options = " ".join(lettered(question.choices))
        ids["id", question.id].add(question.id)
        ids["id", question.key].add(question.id)
        ids["stem", _spaced(question.stem)].add(question.id)
        ids["asked", _spaced(f"{question.context} {question.stem} {_OPTIONS} {options}")].add(question.id)
    return ids


def _parsed(config: Released | FromFile, value: Any) -> tuple[Name, str] | None:
    """Whose rationale a row is, and what it says; None where that cannot be told."""
    return _of_line(value) if isinstance(config, FromFile) else _of_release(value, config.of)


def _of_line(value: Any) -> tuple[Name, str] | None:
    if not isinstance(value, dict) or not isinstance(text := value.get("rationale"), str):
        return None
    if isinstance(id := value.get("id"), str | int):
        return ("id", str(id)), after_cue(text)
    if isinstance(stem := value.get("question"), str):
        return ("stem", _spaced(stem)), after_cue(text)
    return None


def _of_release(value: Any, of: Literal["flan-t5", "llama-2"]) -> tuple[Name, str] | None:
    """A row is FLAN-T5's rationale, its answer, the question again, and LLaMA's rationale, where it has one."""
    if not isinstance(value, str):
        return None
    first, _, llama = value.partition(_LLAMA)
    flan, asks, asked = first.rpartition(_QUESTION)
    if not asks:
        return None
    text = flan.partition(_ANSWER)[0] if of == "flan-t5" else llama
    return ("asked", _spaced(asked)), "" if text.strip() == _NOTHING else after_cue(text)


def _spaced(text: str) -> str:
    """With single spaces, as some readers leave it."""
    return " ".join(text.split())
