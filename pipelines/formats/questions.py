"""Multiple-choice questions from a folder or a file, each in its part: to learn from, or to be tested on.

Knows which of a folder's files is which part, by their names: "train"; "test", or BioASQ's "golden"; and validation
("valid", "val", "dev"), which is nobody's to learn from. Knows the files beside them: PIQA's labels, and PubMedQA's
list of the ids that are for testing. Does not know a recipe's seed, as what a dataset tests on must not move with it;
what a row means is in `question_shapes.py`. Folders within the folder are not read: TinyLLM's `llm` is one.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from heapq import nsmallest
from pathlib import Path

from pipelines.core.builtin import QUESTIONS
from pipelines.core.errors import UserError
from pipelines.core.hashing import key_of
from pipelines.core.records import Dropped, Part, Question
from pipelines.formats.json_rows import Row, read_json
from pipelines.formats.parse import Misfit
from pipelines.formats.question_shapes import question_of

STAGE = "questions"
_TEST_IDS = "test_ground_truth.json"
_NAMED = {"train": "train", "test": "test", "golden": "test", "val": "validation", "dev": "validation"}
_SUFFIXES = (".json", ".jsonl")
_TEST_SHARE = 5  # one stem in so many is for testing, where a dataset does not say which


def read(path: str) -> tuple[list[Question], list[Dropped]]:
    """All questions in their parts, and what was dropped. UserError where there is nothing to read.

    The test part is the first of these that has a question: what the rows or PubMedQA's list say it is, together with
    the test files; the validation files, as PIQA and RiddleSense keep their test's answers secret; a fifth of the
    distinct stems, chosen by their hash.
    """
    files = _by_part(path)
    rows = [*_read_all(files["train"] or files["any"], "train"), *_read_all(files["test"], "test")]
    if not _has_test(rows):
        rows += _read_all(files["validation"], "test")
    kept = [row for row in rows if isinstance(row, Question)]
    dropped = [row for row in rows if isinstance(row, Dropped)]
    if not kept:
        raise UserError(_nothing_in(path, dropped))
    return kept if _has_test(kept) else _with_a_fifth_apart(kept), dropped


def files_of(path: str) -> list[Path]:
    """Every file that `read` may look into. UserError where there is none."""
    found = [file for files in _by_part(path).values() for file in files]
    if not found:
        raise UserError(_nothing_in(path, []))
    beside = {other for file in found for other in (_labels_of(file), file.with_name(_TEST_IDS)) if other.is_file()}
    return found + sorted(beside)


def folded(stem: str) -> str:
    """A stem as it is compared with others: without regard to case and spaces."""
    return " ".join(stem.split()).casefold()


def _by_part(path: str) -> dict[str, list[Path]]:
    """The files that hold questions; "any" are those whose names tell no part, and are read where none tells train."""
    root = QUESTIONS if path == "builtin" else Path(path).expanduser()
    parts: dict[str, list[Path]] = {"train": [], "test": [], "validation": [], "any": []}
    if root.is_file():
        parts["any"] = [root]
    elif root.is_dir():
        for file in sorted(root.iterdir()):
            if file.is_file() and file.suffix in _SUFFIXES and file.name != _TEST_IDS:
                parts[_part_of(file)].append(file)
    else:
        raise UserError(
            f"data.path: there is no file or folder {path!r}; give a folder or a file of multiple-choice questions, "
            "or 'builtin'"
        )
    return parts


def _part_of(file: Path) -> str:
    """By the first of the name's words that tells: ARC-Challenge-Train, rs_dev, tests, training11b."""
    words = re.findall("[a-z]+", file.stem.lower())
    return next((part for word in words for start, part in _NAMED.items() if word.startswith(start)), "any")


def _has_test(rows: Iterable[Question | Dropped]) -> bool:
    return any(isinstance(row, Question) and row.part == "test" for row in rows)


def _read_all(files: Iterable[Path], part: Part) -> Iterator[Question | Dropped]:
    for file in files:
        test_ids = _test_ids(file)
        for row in _rows(file):
            try:
                question = _question(row, file, part)
            except Misfit as misfit:
                yield _dropped(misfit, row, file)
            else:
                yield replace(question, part="test") if question.key in test_ids else question


def _question(row: Row, file: Path, part: Part) -> Question:
    if row.fault:
        raise Misfit("not JSON", row.fault)
    return question_of(row.value, f"{file.name}:{row.where.split()[-1]}", part)


def _dropped(misfit: Misfit, row: Row, file: Path) -> Dropped:
    shown = row.value if row.fault else json.dumps(row.value, ensure_ascii=False)
    text = shown[:500].encode("utf-8", "replace").decode()
    detail = f"{file.name}, {row.where}: {misfit}".encode("utf-8", "replace").decode()
    return Dropped(key_of(STAGE, detail, text), STAGE, misfit.reason, text, detail)


def _rows(file: Path) -> Iterator[Row]:
    rows = (row for found in read_json(file) for row in _unfolded(found))
    labels = _labels_of(file)
    return _each_with_its_label(list(rows), file, labels) if labels.is_file() else rows


def _unfolded(row: Row) -> Iterator[Row]:
    """PubMedQA keeps all of its rows in one object, by their ids."""
    records = row.value if isinstance(row.value, Mapping) else {}
    if not any(isinstance(record, Mapping) and "QUESTION" in record for record in records.values()):
        yield row
        return
    for id, record in records.items():
        yield Row(f"row {id}", {**record, "id": id} if isinstance(record, Mapping) else record)


def _labels_of(file: Path) -> Path:
    """Where PIQA keeps the labels of train.jsonl: in train-labels.lst, line by line."""
    return file.with_name(f"{file.stem}-labels.lst")


def _each_with_its_label(rows: list[Row], file: Path, labels_file: Path) -> Iterator[Row]:
    labels = labels_file.read_text("utf-8", "replace").split()
    if len(labels) != len(rows):
        raise UserError(
            f"data.path: {labels_file.name} has {len(labels)} labels and {file.name} {len(rows)} rows, so nobody can "
            "tell which label is whose; fetch both again"
        )
    for row, label in zip(rows, labels, strict=True):
        yield replace(row, value={"label": label, **row.value}) if isinstance(row.value, Mapping) else row


def _test_ids(file: Path) -> Collection[str]:
    """The ids that PubMedQA's list beside a file says are for testing; none where it has no such list."""
    beside = file.with_name(_TEST_IDS)
    if not beside.is_file():
        return ()
    try:
        return set(json.loads(beside.read_bytes()))
    except (ValueError, TypeError) as error:
        raise UserError(f"data.path: {beside} is no JSON object of ids and labels; fetch it again") from error


def _with_a_fifth_apart(questions: list[Question]) -> list[Question]:
    stems = {folded(question.stem) for question in questions}
    apart = set(nsmallest(len(stems) // _TEST_SHARE, stems, key=lambda stem: key_of("test part", stem)))
    return [replace(question, part="test") if folded(question.stem) in apart else question for question in questions]


def _nothing_in(path: str, dropped: list[Dropped]) -> str:
    reasons = Counter(row.reason for row in dropped).most_common()
    why = ", ".join(f"{reason}: {count}" for reason, count in reasons) or "no rows in files named .json or .jsonl"
    return (
        f"data.path: {path!r} holds no question that can be read ({why}); give a folder in a public shape, or JSON "
        "lines of {question, choices, answer}"
    )
