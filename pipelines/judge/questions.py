"""The open questions of a run: ours, or a file's, in its order.

Knows JSON lines of {id?, category?, turns, reference?} with one turn or two; MT-Bench's files, which say `question_id`,
are such. A bad line becomes a Dropped row with its place. Knows that a question is drawn by a hash of the seed and its
content, so that a larger limit contains a smaller one. Does not know who is asked.
"""

from collections.abc import Mapping
from heapq import nsmallest
from pathlib import Path
from typing import Any

from pipelines.core.builtin import OPEN_QUESTIONS
from pipelines.core.config import OpenQuestions
from pipelines.core.errors import UserError
from pipelines.core.hashing import file_digest, key_of
from pipelines.core.parts import summary, write_rows
from pipelines.core.records import Dropped, OpenQuestion
from pipelines.core.stage import Outcome, StageRun
from pipelines.formats.json_rows import read_json

STAGE = "questions"
MOST_TURNS = 2
NO_CATEGORY = "all"
_FEWEST = 2  # a spread over one question says nothing


def content_key(config: OpenQuestions) -> str:
    """What of the file enters the stage's key. UserError where there is none."""
    return file_digest(_file_of(config))


def run(config: OpenQuestions, seed: int, run: StageRun) -> Outcome:
    """Rows = the questions that are asked."""
    kept, dropped = drawn(config, seed)
    write_rows(run.folder, kept, OpenQuestion, dropped)
    facts = {"two_turns": sum(len(question.turns) > 1 for question in kept)}
    return Outcome(*summary(run.folder, OpenQuestion), facts=facts)


def drawn(config: OpenQuestions, seed: int) -> tuple[list[OpenQuestion], list[Dropped]]:
    """The questions, and what was dropped. UserError where too few are left."""
    kept: dict[str, OpenQuestion] = {}
    dropped: list[Dropped] = []
    file = _file_of(config)
    for row in read_json(file):
        made = _dropped(row.where, "unreadable", str(row.value), row.fault) if row.fault else _of(row.value, row.where)
        if isinstance(made, OpenQuestion) and made.id in kept:
            made = _dropped(row.where, "twice", made.turns[0], f"{row.where}: as {kept[made.id].key}")
        if isinstance(made, Dropped):
            dropped.append(made)
        else:
            kept[made.id] = made
    if len(kept) < _FEWEST:
        why = f"; {dropped[0].detail}" if dropped else ""
        raise UserError(
            f"questions.path: {file} has {len(kept)} questions, and {_FEWEST} is the least ({len(dropped)} lines left "
            f"out{why})"
        )
    limit = config.limit or len(kept)
    chosen = set(nsmallest(limit, kept, key=lambda id: key_of("limit", seed, id)))
    return [question for id, question in kept.items() if id in chosen], dropped


def _file_of(config: OpenQuestions) -> Path:
    path = OPEN_QUESTIONS if config.path == "builtin" else Path(config.path).expanduser()
    if not path.is_file():
        raise UserError(
            f"questions.path: there is no file {config.path!r}; give JSON lines of {{turns, category?, reference?}}, "
            "or 'builtin'"
        )
    return path


def _of(row: Any, where: str) -> OpenQuestion | Dropped:
    """The row's question, or why it is none."""
    if not isinstance(row, Mapping):
        return _dropped(where, "not an object", str(row), f"{where}: not an object")
    turns, references = _texts(row.get("turns")), _texts(row.get("reference"))
    if not turns or not all(turn.strip() for turn in turns) or len(turns) > MOST_TURNS:
        return _dropped(where, "no turns", str(row), f"{where}: `turns` must be a list of one text or two")
    if references is None or len(references) > len(turns):
        return _dropped(where, "bad reference", turns[0], f"{where}: `reference` must be a text, or one for each turn")
    if references:
        references += ("",) * (len(turns) - len(references))
    key = next((str(row[name]) for name in ("id", "question_id") if row.get(name) not in (None, "")), where)
    category = str(row.get("category") or NO_CATEGORY)
    return OpenQuestion(OpenQuestion.make_id(turns, references), key, category, turns, references)


def _texts(value: Any) -> tuple[str, ...] | None:
    """A text, a list of them, or nothing; None for anything else."""
    if value is None:
        return ()
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return None
    return tuple(texts)


def _dropped(where: str, reason: str, text: str, detail: str) -> Dropped:
    return Dropped(key_of(STAGE, where, text), STAGE, reason, text[:500], detail)
