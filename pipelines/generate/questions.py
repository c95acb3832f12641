"""The questions of a run: all that the dataset has, or as many as the recipe wants, in two parts that share no stem.

Knows that a question is drawn by a hash of the seed and its content, so that a larger limit contains a smaller one.
Does not know files or shapes (`formats/questions.py`). The rows are the training questions and then the others, each
part in the order that they were drawn in.
"""

from collections.abc import Sequence
from heapq import nsmallest

from pipelines.core.config import Questions
from pipelines.core.errors import UserError
from pipelines.core.hashing import file_digest, key_of
from pipelines.core.parts import summary, write_rows
from pipelines.core.records import Dropped, Part, Question
from pipelines.core.stage import Outcome, StageRun
from pipelines.formats.questions import STAGE, files_of, folded, read

Parts = dict[Part, list[Question]]
_IN_TEST = "its stem is in the test part"
_FEWEST_TESTED = 2  # a spread over one question says nothing


def content_key(config: Questions) -> str:
    """What of the dataset enters the stage's key. UserError where there is nothing to read."""
    return key_of(*[[file.name, file_digest(file)] for file in files_of(config.path)])


def run(config: Questions, seed: int, run: StageRun) -> Outcome:
    """Rows = the questions that are drawn. UserError where too few are left."""
    parts, dropped = drawn(config, seed)
    write_rows(run.folder, [*parts["train"], *parts["test"]], Question, dropped)
    rows, digest, reasons = summary(run.folder, Question)
    facts = {
        "train": len(parts["train"]),
        "test": len(parts["test"]),
        "stems_in_test": reasons.get(_IN_TEST, 0),
        "answers_at": {part: _answers_at(drawn) for part, drawn in parts.items()},
    }
    return Outcome(rows, digest, reasons, facts=facts)


def drawn(config: Questions, seed: int) -> tuple[Parts, list[Dropped]]:
    """The questions of each part, and what was dropped. UserError where too few are left."""
    questions, dropped = read(config.path)
    apart, taken_out = _keep_apart(questions)
    parts: Parts = {
        "train": _draw(apart, "train", config.limit, seed),
        "test": _draw(apart, "test", config.test_limit or config.limit, seed),
    }
    _check_enough(config, apart, parts)
    return parts, [*dropped, *taken_out]


def _keep_apart(questions: Sequence[Question]) -> tuple[list[Question], list[Dropped]]:
    """Each question once in its part, and none for training whose stem is asked in the test."""
    tested = {folded(question.stem) for question in questions if question.part == "test"}
    seen: set[tuple[Part, str]] = set()
    kept: list[Question] = []
    dropped: list[Dropped] = []
    for question in questions:
        if (question.part, question.id) in seen:
            dropped.append(_dropped(question, "twice"))
        elif question.part == "train" and folded(question.stem) in tested:
            dropped.append(_dropped(question, _IN_TEST))
        else:
            kept.append(question)
        seen.add((question.part, question.id))
    return kept, dropped


def _dropped(question: Question, reason: str) -> Dropped:
    return Dropped(question.id, STAGE, reason, question.stem, f"{question.key}, in the {question.part} part")


def _draw(questions: Sequence[Question], part: Part, limit: int | None, seed: int) -> list[Question]:
    there = [question for question in questions if question.part == part]
    return nsmallest(limit or len(there), there, key=lambda question: key_of("limit", seed, question.id))


def _check_enough(config: Questions, apart: Sequence[Question], parts: Parts) -> None:
    there = sum(question.part == "test" for question in apart)
    if not parts["train"]:
        raise UserError(
            f"data.path: {config.path!r} has no question to learn from, and {there} to be tested on; add a file of "
            "training questions, whose name says train"
        )
    if there < _FEWEST_TESTED:
        raise UserError(
            f"data.path: {config.path!r} has too few questions to be tested on ({there}; {_FEWEST_TESTED} is the "
            "least); add a file of them, whose name says test, or more questions"
        )
    if len(parts["test"]) < _FEWEST_TESTED:
        raise UserError(
            f"data.limit: {config.limit} leaves {len(parts['test'])} to be tested on; set data.test_limit, which is "
            f"the limit's unless told, to {_FEWEST_TESTED} or more"
        )


def _answers_at(questions: Sequence[Question]) -> list[int]:
    """How often each place among the choices is the right one; what a guesser can gain from is all here."""
    counts = [0] * max(len(question.choices) for question in questions)
    for question in questions:
        counts[question.answer] += 1
    return counts
