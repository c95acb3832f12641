"""How difficult each question is, as a user's file has it: JSON lines of {id, difficulty}.

Knows that an id is the questions file's own, or ours. Does not know where the figures come from.
"""

import math
from collections.abc import Iterable
from pathlib import Path

from pipelines.core.errors import UserError
from pipelines.core.records import OpenQuestion
from pipelines.formats.json_rows import read_json

KEY = "judge.difficulty"


def read(path: str, questions: Iterable[OpenQuestion]) -> dict[str, float]:
    """Coefficients by the question's id. UserError for a file that is not there, or has none for some question."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"{KEY}: there is no file {path!r}; give JSON lines of {{id, difficulty}}")
    told: dict[str, float] = {}
    for row in read_json(file):
        value = row.value.get("difficulty") if isinstance(row.value, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{KEY}: {file.name}, {row.where}: a number under `difficulty` is expected")
        told[str(row.value.get("id"))] = float(value)
    asked = list(questions)
    found = {q.id: told[key] for q in asked for key in (q.key, q.id) if key in told}
    if missing := [q.key for q in asked if q.id not in found]:
        raise UserError(f"{KEY}: {file.name} has no difficulty of {len(missing)} questions, the first {missing[0]!r}")
    return found
