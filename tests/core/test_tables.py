"""Every record class becomes Arrow and comes back the same."""

import typing
from dataclasses import fields, replace
from typing import Any, Literal

import pytest

from pipelines.core.records import Dropped, Record, TrainExample
from pipelines.core.tables import from_table, schema_of, to_table

KINDS = typing.get_args(Record)
VALUES: dict[Any, tuple[Any, Any]] = {  # of each type a field may have: something odd, and the least
    str: ('é\n"\x00😀', ""),
    int: (-(2**40), 0),
    float: (0.1, -0.0),
    bool: (True, False),
    bytes: (b"\x00\xff\n", b""),
    tuple[str, ...]: (("a", ""), ()),
    tuple[int, ...]: ((0, 2**40), ()),
    tuple[float, ...]: ((0.1, 1e-300), ()),
}


def record(kind: type, which: int) -> Any:
    """A record with the odd (0) or the least (1) value in every field."""

    def value(hint: Any) -> Any:
        literal = typing.get_origin(hint) is Literal
        return typing.get_args(hint)[0] if literal else VALUES[hint][which]

    hints = typing.get_type_hints(kind)
    return kind(**{f.name: value(hints[f.name]) for f in fields(kind)})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_record_comes_back_from_arrow_as_it_went(kind: type) -> None:
    records = [record(kind, 0), record(kind, 1), record(kind, 0)]
    assert from_table(to_table(records, kind), kind) == records
    assert to_table([], kind).schema == to_table(records, kind).schema
    assert from_table(to_table([], kind), kind) == []


def test_rows_of_another_kind_are_not_taken_for_records() -> None:
    table = to_table([record(Dropped, 0)], Dropped)
    others = [kind for kind in KINDS if not schema_of(kind).equals(schema_of(Dropped))]
    assert len(others) == len(KINDS) - 1
    for kind in others:
        with pytest.raises(AssertionError, match=kind.__name__):
            from_table(table, kind)


def test_rows_from_before_a_field_was_there_have_its_default() -> None:
    row = replace(record(TrainExample, 0), encoder_ids=())
    older = to_table([row], TrainExample).drop_columns(["encoder_ids"])
    assert from_table(older, TrainExample) == [row]
    with pytest.raises(AssertionError, match="TrainExample"):
        from_table(older.drop_columns(["weights"]), TrainExample)
