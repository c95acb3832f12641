"""`tutelage export`: conversations to a file or folder that other tools read.

Knows files. What a row looks like is in `render.py`, what a dataset's card says in `card.py`. Rows stream, but
for `hf`, which the library wants as one table.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.core.records import Conversation
from pipelines.core.tables import schema_of, to_table
from pipelines.formats import ExportFormat, place
from pipelines.formats.parse import Misfit
from pipelines.formats.render import RENDER

BATCH = 1000
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = schema_of(Conversation).append(pa.field("messages", _MESSAGES))


@dataclass(frozen=True)
class Written:
    """What came of an export."""

    rows: int
    left_out: dict[str, int]  # reason -> rows that the format has no place for


def export(conversations: Iterable[Conversation], format: ExportFormat, out: str, card: str) -> Written:
    """Write all that fits to the new path `out`; `card` goes into the folder of an `hf` dataset."""
    with place.whole(out) as temporary:
        if format == "parquet":
            return Written(_parquet(conversations, temporary), {})
        if format == "hf":
            return Written(_hugging_face(conversations, temporary, card), {})
        as_lines = format == "messages" or out.endswith(".jsonl")
        return _json(conversations, format, temporary, as_lines)


def _json(conversations: Iterable[Conversation], format: ExportFormat, path: Path, as_lines: bool) -> Written:
    """A JSON list with a row per line, or JSON lines."""
    left_out = Counter[str]()
    rows = 0
    opens, between, closes = ("", "\n", "\n") if as_lines else ("[\n", ",\n", "\n]\n")
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write(opens)
        for row in _rendered(conversations, format, left_out):
            handle.write((between if rows else "") + json.dumps(row, ensure_ascii=False, allow_nan=False))
            rows += 1
        handle.write(closes if rows or not as_lines else "")
    return Written(rows, dict(left_out))


def _rendered(conversations: Iterable[Conversation], format: str, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    for conversation in conversations:
        try:
            yield RENDER[format](conversation)
        except Misfit as misfit:
            left_out[misfit.reason] += 1


def _parquet(conversations: Iterable[Conversation], path: Path) -> int:
    rows = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for table in _tables(conversations):
            writer.write_table(table)
            rows += table.num_rows
    return rows


def _hugging_face(conversations: Iterable[Conversation], path: Path, card: str) -> int:
    import datasets

    table = pa.concat_tables([SCHEMA.empty_table(), *_tables(conversations)])
    datasets.disable_progress_bars()
    datasets.Dataset(table).save_to_disk(str(path))
    (path / "README.md").write_text(card, encoding="utf-8")
    return int(table.num_rows)


def _tables(conversations: Iterable[Conversation]) -> Iterator[pa.Table]:
    """Our own columns, so that nothing is lost, and the messages that other tools look for."""
    rows = iter(conversations)
    while batch := list(islice(rows, BATCH)):
        messages = pa.array([conversation.messages() for conversation in batch], _MESSAGES)
        yield to_table(batch, Conversation).append_column(SCHEMA.field("messages"), messages)
