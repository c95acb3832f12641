"""Records become Arrow, and come back, here and nowhere else.

Knows the records' field types. Does not know where tables are stored.
"""

import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

import pyarrow as pa

R = TypeVar("R")

_ARROW = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    tuple[str, ...]: pa.list_(pa.string()),
    tuple[int, ...]: pa.list_(pa.int64()),
    tuple[float, ...]: pa.list_(pa.float64()),
}


def schema_of(kind: type) -> pa.Schema:
    """The Arrow schema of a record class."""
    hints = typing.get_type_hints(kind)
    return pa.schema([pa.field(f.name, _arrow_type(hints[f.name])) for f in fields(kind)])


def to_table(records: Sequence[R], kind: type[R]) -> pa.Table:
    """Records to one Arrow table; an empty sequence keeps its columns."""
    schema = schema_of(kind)
    columns = {name: [getattr(record, name) for record in records] for name in schema.names}
    return pa.table(columns, schema=schema)


def from_table(table: pa.Table, kind: type[R]) -> list[R]:
    """Arrow rows back to records, checked against the record's schema.

    A column that older rows do not have is left to its field's default.
    """
    later = {f.name for f in fields(kind) if f.default is not MISSING} - set(table.schema.names)  # type: ignore[arg-type]
    schema = pa.schema([field for field in schema_of(kind) if field.name not in later])
    assert table.schema.equals(schema), f"{kind.__name__}: {table.schema} is not {schema}"
    return [kind(**_tuples(row)) for row in table.to_pylist()]


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


def _arrow_type(hint: Any) -> pa.DataType:
    if typing.get_origin(hint) is typing.Literal:
        return pa.string()
    assert not isinstance(hint, types.UnionType), f"records hold no optional fields: {hint}"
    return _ARROW[hint]
