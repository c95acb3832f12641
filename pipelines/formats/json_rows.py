"""Rows of a JSON document or of JSON lines, whichever the file is.

Knows byte order marks, wrapper objects and bad lines. A bad line is a row with a fault and costs no other row;
a list that does not end, or breaks in the middle, is the user's mistake, because nothing after it can be trusted.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.errors import UserError
from pipelines.formats.parse import plain, shape_of

_BOM, _OTHER_BOMS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Row:
    """One row, where it stood, and, where it could not be read, why: its value is then the bare text."""

    where: str
    value: Any
    fault: str = ""


def read_json(path: Path) -> Iterator[Row]:
    """The file's rows, line by line where it is JSON lines."""
    with path.open("rb") as handle:
        lines = ((number, line.strip()) for number, line in enumerate(handle, 1))
        number, first = next(((n, line.removeprefix(_BOM)) for n, line in lines if line.removeprefix(_BOM)), (0, b""))
        if not first:
            return
        if first.startswith(_OTHER_BOMS):
            raise UserError(f"{path} is UTF-16; save it as UTF-8")
        try:
            value = _value(first)
        except (ValueError, RecursionError) as error:
            # No row: a document over several lines, or JSON lines that begin with a bad one.
            document = _document(path, is_list=first.startswith(b"["))
            if document is not None:
                yield from _items(document, "")
                return
            yield _faulty(first, f"line {number}", error)
        else:
            yield from _items(value, f"line {number}")
        for number, line in lines:
            if line:
                yield from _line(line, f"line {number}")


def _line(line: bytes, where: str) -> Iterator[Row]:
    try:
        value = _value(line)
    except (ValueError, RecursionError) as error:
        yield _faulty(line, where, error)
    else:
        yield from _items(value, where)


def _faulty(line: bytes, where: str, error: Exception) -> Row:
    return Row(where, line[:500].decode("utf-8", "replace"), str(error))


def _document(path: Path, is_list: bool) -> Any:
    """The whole file as one value, None where it is none. UserError for a list that is broken."""
    try:
        return _value(path.read_bytes().removeprefix(_BOM))
    except (ValueError, RecursionError) as error:
        if is_list:
            raise UserError(f"{path} is a JSON list that cannot be read to its end: {error}") from error
        return None


def _items(value: Any, where: str) -> Iterator[Row]:
    """The rows within a list or a wrapper object ({"data": [...]}), or the value as the one row that it is."""
    rows = value if isinstance(value, list) else _wrapped(value)
    if rows is None:
        yield Row(where or "row 1", value)
        return
    for number, row in enumerate(rows, 1):
        yield Row(f"{where}, row {number}" if where else f"row {number}", row)


def _wrapped(value: Any) -> list[Any] | None:
    if not isinstance(value, dict) or shape_of(value) is not None:
        return None
    lists = [v for v in value.values() if isinstance(v, list) and any(isinstance(item, dict) for item in v)]
    return lists[0] if len(lists) == 1 else None


def _value(text: bytes) -> Any:
    return plain(json.loads(text))
