"""A user's own rows, as a stage: JSON lines of {instruction, response} that a student is asked about.

Knows the lines' shape. A line that is none, or has no text, is kept as a Dropped row. Whatever a row is called in its
file stands in its example's `answer_id`; the example's own id hashes its tokens, so two rows of one name are two.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.core.errors import UserError
from pipelines.core.hashing import key_of
from pipelines.core.parts import summary, write_rows
from pipelines.core.records import Conversation, Dropped, TrainExample
from pipelines.core.stage import Outcome, StageRun
from pipelines.formats.json_rows import read_json
from pipelines.influence.reference_rows import Encode

STAGE = "probe_rows"


def file_of(path: str) -> Path:
    """UserError where there is none."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"--rows: there is no file {path!r}; give JSON lines of {{instruction, response}}")
    return file


def run(file: Path, encode: Encode, run: StageRun) -> Outcome:
    """Rows = examples, in the file's order."""
    made = list(read(file, encode))
    kept = [row for row in made if isinstance(row, TrainExample)]
    write_rows(run.folder, kept, TrainExample, [row for row in made if isinstance(row, Dropped)])
    return Outcome(*summary(run.folder, TrainExample))


def read(file: Path, encode: Encode) -> Iterator[TrainExample | Dropped]:
    """Each row, by the id that it has or by its content."""
    for row in read_json(file):
        if row.fault or not isinstance(row.value, dict):
            yield Dropped(row.where, STAGE, "not a row", str(row.value)[:500], row.fault)
        else:
            yield of_row(row.value, row.where, encode)


def of_row(value: dict[str, Any], where: str, encode: Encode) -> TrainExample | Dropped:
    """One row: {instruction, response}, with an `input` and an `id` where it has them."""
    texts, called = [value.get(name, "") for name in ("instruction", "input", "response")], str(value.get("id") or "")
    if not value or not all(map(_is_text, [*texts, called])):
        return Dropped(where, STAGE, "not a row", str(value)[:500], f"{where}: texts are expected")
    instruction, inline, response = texts
    id = called or key_of("row", *texts)
    if not instruction.strip() or not response.strip():
        return Dropped(id, STAGE, "empty", instruction, f"{where}: no instruction, or no response")
    made = encode(Conversation(id, "", (instruction, response), inline, "{}"))
    return replace(made, stage=STAGE) if isinstance(made, Dropped) else made


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can hold half a character
        return False
    return True
