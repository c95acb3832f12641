"""Where rows come from: JSON files, Parquet and Arrow files, saved datasets and the hub.

Knows files and how to say where a row stood. Does not know what a row means (`parse.py`). A file that is damaged
as a whole is the user's mistake to mend; a damaged line is a row with a fault, and the others go on.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.core.errors import UserError
from pipelines.core.hashing import file_digest, key_of
from pipelines.formats import ImportFormat, hugging_face
from pipelines.formats.json_rows import Row, read_json
from pipelines.formats.parse import plain, shape_of

_TABLES = {"parquet": "Parquet", "hf": "Arrow"}
_HUB = re.compile(r"\w[\w.-]*/\w[\w.-]*(@\w[\w./-]*)?\Z")


@dataclass(frozen=True)
class Source:
    """What is to be imported."""

    name: str
    digest: str  # of its bytes; of its name and revision on the hub
    shape: str  # how its rows are to be parsed
    rows: Iterator[Row]


def open_source(source: str, format: ImportFormat, split: str | None = None) -> Source:
    """UserError where there is nothing to read, or nothing in this format."""
    path = Path(source).expanduser()
    if split is not None and (format != "hf" or path.is_file()):
        raise UserError("--split goes with --from hf and a dataset that has splits")
    if format == "hf" and not path.exists() and _HUB.match(source):
        return _of_table(source, key_of("hub", source, split), hugging_face.from_hub(source, split))
    try:
        return _opened(path, format, split)
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error.strerror or error}") from error


def _opened(path: Path, format: ImportFormat, split: str | None) -> Source:
    if not path.exists():
        raise UserError(f"there is no file or folder {str(path)!r}")
    if path.is_file():
        _check_kind(path, format)
    if format in _TABLES:
        files = _files(path, format)
        batches = _parquet(files) if format == "parquet" else hugging_face.from_disk(path, split)
        return _of_table(path.name, key_of(*[[f.name, file_digest(f)] for f in files]), batches)
    if path.is_dir():
        raise UserError(f"{path} is a folder; --from {format} reads a JSON file (--from parquet and hf read folders)")
    return Source(path.name, file_digest(path), format, read_json(path))


def format_of(path: Path) -> str | None:
    """The --from that a file looks like, None where it looks like none."""
    if not path.is_file():
        return None
    if (table := _table_format(path)) is not None:
        return table
    try:
        first = next((row.value for row in read_json(path) if isinstance(row.value, dict)), {})
    except UserError:
        return None
    return shape_of(first)


def _table_format(path: Path) -> str | None:
    """By the file's first bytes."""
    with path.open("rb") as handle:
        start = handle.read(6)
    if start[:4] == b"PAR1":
        return "parquet"
    return "hf" if start == b"ARROW1" or start[:4] == b"\xff\xff\xff\xff" else None


def near(path: Path, format: ImportFormat) -> str:
    """The advice that ends an error, "" where there is none."""
    found = format_of(path)
    return f"; it looks like --from {found}" if found and found != format else ""


def _check_kind(path: Path, format: ImportFormat) -> None:
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty")
    if _table_format(path) != (format if format in _TABLES else None):
        raise UserError(f"{path} is no {_TABLES.get(format, 'JSON')} file{near(path, format)}")


def _files(path: Path, format: ImportFormat) -> list[Path]:
    """The files that hold a source's rows."""
    if path.is_file():
        return [path]
    pattern = "*.parquet" if format == "parquet" else "**/*.arrow"
    files = sorted(path.glob(pattern))
    if not files:
        kept = "Parquet files" if format == "parquet" else "a dataset saved with save_to_disk"
        raise UserError(f"{path} does not hold {kept}")
    return files


def _parquet(files: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for file in files:
        try:
            yield from pq.ParquetFile(file).iter_batches()
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{file} cannot be read as Parquet: {error}") from error


def _of_table(name: str, digest: str, batches: Iterator[pa.RecordBatch]) -> Source:
    """Rows of a table, whose columns say what they are."""
    first = next(batches, None)
    if first is None:
        raise UserError(f"{name} has no rows")
    shape = shape_of(first.schema.names)
    if shape is None:
        raise UserError(
            f"{name} has the columns {', '.join(first.schema.names)}; instruction and output, messages, "
            "conversations, or those that `tutelage export --to parquet` writes are expected"
        )
    return Source(name, digest, shape, _table_rows(first, batches))


def _table_rows(first: pa.RecordBatch, others: Iterator[pa.RecordBatch]) -> Iterator[Row]:
    number = 0
    for batch in chain([first], others):
        for value in batch.to_pylist():
            number += 1
            yield Row(f"row {number}", plain(value))
