"""`tutelage import`: a folder of conversations, laid out like a finished stage.

Knows how rows become a folder, and how such a folder is opened again. Every row of the source is there in the
end: as a Conversation, or as a Dropped row with its reason and where it stood.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.core import manifest
from pipelines.core.errors import UserError
from pipelines.core.hashing import key_of
from pipelines.core.parts import PART_ROWS, Shard, dropped_of, rows_of, summary, write_shard
from pipelines.core.progress import Progress
from pipelines.core.records import Conversation, Dropped
from pipelines.core.stage import Done, Outcome, Stage, StageRun
from pipelines.core.storage import Folder
from pipelines.formats import ImportFormat, parse, place
from pipelines.formats.json_rows import Row
from pipelines.formats.parse import Misfit
from pipelines.formats.sources import Source, near, open_source

STAGE = "import"


def import_(source: str, format: ImportFormat, out: str, split: str | None = None) -> Done:
    """Read `source` into the new folder `out`. UserError where nothing in it is a conversation."""
    with place.whole(out) as temporary:
        opened = open_source(source, format, split)
        stage = Stage(STAGE, 1, {"format": format, "source": opened.digest}, {}, lambda run: _run(opened, run.folder))
        folder, began = Folder(str(temporary)), time.monotonic()
        outcome = stage.run(StageRun(folder, {}, folder, Progress()))
        if outcome.rows == 0:
            raise UserError(_nothing_read(opened, folder, outcome) + near(Path(source).expanduser(), format))
        done = manifest.write(stage, folder, {}, outcome, time.monotonic() - began)
    return Done(Folder(out), done.manifest)


def is_imported(path: str) -> bool:
    """Whether `import` has finished a folder there."""
    found = manifest.read(Folder(path))
    return found is not None and found["stage"] == STAGE


def open_imported(path: str) -> tuple[Mapping[str, Any], Iterator[Conversation]]:
    """(manifest, conversations) of a folder that `is_imported`."""
    folder = Folder(path)
    found = manifest.read(folder)
    assert found is not None, f"{path} is not an imported folder"
    return found, rows_of(folder, Conversation)


def read_file(path: str, format: ImportFormat) -> tuple[list[Conversation], list[Dropped]]:
    """All of a source's rows, as `import` would keep and drop them."""
    parts = list(_parts(open_source(path, format), Counter()))
    return [row for part in parts for row in part.rows], [row for part in parts for row in part.dropped]


@dataclass
class _Part:
    """What the next part file will hold."""

    rows: list[Conversation] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)


def _run(source: Source, folder: Folder) -> Outcome:
    read = Counter[str]()
    for number, part in enumerate(_parts(source, read)):
        write_shard(folder, Shard(number, "", 0, 0), part.rows, Conversation, part.dropped)
    rows, digest, dropped = summary(folder, Conversation)
    return Outcome(rows, digest, dropped, facts={"file": source.name, "read": read["rows"]})


def _parts(source: Source, read: Counter[str]) -> Iterator[_Part]:
    part = _Part()
    first_at: dict[str, str] = {}
    for row in source.rows:
        read["rows"] += 1
        for where, made in _conversations(source.shape, row):
            if isinstance(made, Misfit):
                part.dropped.append(_dropped(made, where, row, source.name))
            elif made.id in first_at:
                twin = Misfit("duplicate", f"the same conversation as {first_at[made.id]}")
                part.dropped.append(_dropped(twin, where, row, source.name))
            else:
                first_at[made.id] = where
                part.rows.append(made)
        if max(len(part.rows), len(part.dropped)) >= PART_ROWS:
            yield part
            part = _Part()
    yield part


def _conversations(shape: str, row: Row) -> Iterator[tuple[str, Conversation | Misfit]]:
    """(where it stood, what it is)."""
    if row.fault:
        yield row.where, Misfit("not JSON", row.fault)
        return
    made = parse.conversations(shape, row.value)
    for number, one in enumerate(made, 1):
        yield (f"{row.where}, instance {number}" if len(made) > 1 else row.where), one


def _dropped(misfit: Misfit, where: str, row: Row, name: str) -> Dropped:
    text = _whole(row.value if isinstance(row.value, str) else json.dumps(row.value, ensure_ascii=False))
    return Dropped(key_of(STAGE, where, text), STAGE, misfit.reason, text, _whole(f"{name}, {where}: {misfit}"))


def _whole(text: str) -> str:
    """Half a character cannot be stored, so it becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _nothing_read(source: Source, folder: Folder, outcome: Outcome) -> str:
    first = next(dropped_of(folder), None)
    if first is None:
        return f"{source.name} holds no rows"
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in outcome.dropped.items())
    return (
        f"nothing can be imported: {outcome.facts['read']:,} rows, dropped: {reasons}; the first: {first.detail[:300]}"
    )
