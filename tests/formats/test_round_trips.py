"""What goes in comes out: every format on its own, and every format into every other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.core.records import Conversation, Instruction
from pipelines.formats import ExportFormat, ImportFormat, write

DATA = Path(__file__).parents[2].parent / "shared/data"
ALPACA = [
    {"instruction": " Sort  the rivers.\n", "input": "Ob\u2028Lena", "output": "\nLena, Ob "},
    {
        "instruction": "Sing.",
        "input": "",
        "output": "La 😀",
        "score": 1.5,
        "tags": ["a", None],
        "z": {"b": 1, "a": 2**70},
    },
]
SHAREGPT = [
    {
        "id": "x1",
        "conversations": [
            {"from": "system", "value": "Be short."},
            {"from": "human", "value": "One?", "markdown": None},
            {"from": "gpt", "value": "Two."},
            {"from": "human", "value": "Three?"},
            {"from": "gpt", "value": "Four.", "weight": 0},
        ],
    },
    {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}], "conversation_count": 1},
]
MESSAGES = [
    {
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "One?", "name": "ann"},
            {"role": "assistant", "content": "Two."},
        ],
        "source": "é",
    },
    {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So.\n"}], "source": None},
]
OWN_KIND: dict[ExportFormat, list[dict[str, Any]]] = {"alpaca": ALPACA, "sharegpt": SHAREGPT, "messages": MESSAGES}
SEVERAL_TURNS = ("Why?", "So.", "And then?", "Then.")


def read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.split("\n") if line]


@pytest.mark.parametrize("format", OWN_KIND)
@pytest.mark.parametrize("as_lines", [True, False], ids=["lines", "list"])
def test_every_row_comes_back_as_it_was(
    format: ExportFormat, as_lines: bool, lines: Callable[..., Path], imported: Any, tmp_path: Path
) -> None:
    source = lines(*OWN_KIND[format]) if as_lines else lines(json.dumps(OWN_KIND[format], indent=1).encode())
    conversations, dropped = imported(source, format)
    assert dropped == []
    out = tmp_path / ("out.jsonl" if as_lines else "out.json")
    assert write.export(conversations, format, str(out), "").rows == len(OWN_KIND[format])
    assert read(out) == OWN_KIND[format]
    assert out.read_bytes().startswith(b"[") is not (as_lines or format == "messages")


@pytest.mark.parametrize("out_format", get_args(ExportFormat))
@pytest.mark.parametrize("in_format", OWN_KIND)
def test_an_id_is_the_same_in_every_format(
    in_format: ExportFormat, out_format: ImportFormat, lines: Callable[..., Path], imported: Any, tmp_path: Path
) -> None:
    rows = OWN_KIND[in_format][1:]  # the first ones hold what Alpaca has no place for
    conversations, _ = imported(lines(*rows), in_format)
    write.export(conversations, out_format, str(tmp_path / "out"), "card")
    again, dropped = imported(tmp_path / "out", out_format)
    assert ([c.id for c in again], dropped) == ([c.id for c in conversations], [])
    assert [c.messages() for c in again] == [c.messages() for c in conversations]
    assert [c.extra for c in again] == [c.extra for c in conversations]


@pytest.mark.parametrize("format", ["parquet", "hf"])
def test_tables_keep_everything(
    format: ImportFormat, lines: Callable[..., Path], imported: Any, tmp_path: Path
) -> None:
    conversations = [c for kind, rows in OWN_KIND.items() for c in imported(lines(*rows), kind)[0]]
    conversations = list({c.id: c for c in conversations}.values())
    write.export(conversations, format, str(tmp_path / "out"), "card")
    assert imported(tmp_path / "out", format) == (conversations, [])


def test_other_tools_find_messages_in_a_table(tmp_path: Path) -> None:
    row = Conversation("id", "Be short.", ("Sort.", "Ob"), "Ob", "{}")
    write.export([row], "parquet", str(tmp_path / "out.parquet"), "")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.field("messages").type == pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    assert table.column("messages").to_pylist() == [
        [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "Sort.\n\nOb"},
            {"role": "assistant", "content": "Ob"},
        ]
    ]


def test_a_column_that_was_added_to_our_table_is_kept(imported: Any, tmp_path: Path) -> None:
    write.export([Conversation("id", "", ("A?", "B."), "", '{"a":1}')], "parquet", str(tmp_path / "out"), "")
    table = pq.read_table(tmp_path / "out").append_column("score", pa.array([float("nan")]))
    pq.write_table(table, tmp_path / "scored.parquet")
    [again], _ = imported(tmp_path / "scored.parquet", "parquet")
    assert json.loads(again.extra) == {"a": 1, "score": None}


def test_what_alpaca_has_no_place_for_is_counted(tmp_path: Path) -> None:
    rows = [
        Conversation("a", "", ("Why?", "So."), "", "{}"),
        Conversation("b", "", SEVERAL_TURNS, "", "{}"),
        Conversation("c", "Be short.", ("Why?", "So."), "", "{}"),
    ]
    written = write.export(rows, "alpaca", str(tmp_path / "out.json"), "")
    assert written == write.Written(1, {"several turns": 1, "a system text": 1})
    assert read(tmp_path / "out.json") == [{"instruction": "Why?", "input": "", "output": "So."}]


@pytest.mark.parametrize(("name", "text"), [("out.json", "[\n\n]\n"), ("out.jsonl", "")])
def test_no_rows_are_a_file_all_the_same(name: str, text: str, tmp_path: Path) -> None:
    assert write.export([], "alpaca", str(tmp_path / name), "").rows == 0
    assert (tmp_path / name).read_text() == text


def test_a_column_that_the_format_uses_itself_gets_another_name(tmp_path: Path) -> None:
    row = Conversation("a", "", ("Why?", "So."), "", '{"input":3,"messages":[{"role":"user","content":"else"}]}')
    write.export([row], "alpaca", str(tmp_path / "alpaca"), "")
    [alpaca] = read(tmp_path / "alpaca")
    assert (alpaca["input"], alpaca["extra_input"]) == ("", 3)
    write.export([row], "messages", str(tmp_path / "messages"), "")
    [chat] = read(tmp_path / "messages")
    assert chat["messages"] == row.messages()
    assert chat["extra_messages"] == [{"role": "user", "content": "else"}]


def test_the_users_turn_is_an_instructions_prompt(imported: Any, lines: Callable[..., Path]) -> None:
    [row], _ = imported(lines({"instruction": "Sort.", "input": "Ob", "output": "Ob"}), "alpaca")
    task = Instruction("", "Sort.", "Ob", "seed", "train", (), "", "")
    assert row.messages()[0]["content"] == task.as_prompt()


def test_a_task_with_several_instances_is_several_rows(
    imported: Any, lines: Callable[..., Path], tmp_path: Path
) -> None:
    instances = [{"input": "Ob", "output": "river"}, {"input": "", "output": " "}, {"output": "none", "note": 1}, 7]
    task = {"id": "t1", "name": "kind", "instruction": "What is it?", "instances": instances, "is_classification": True}
    rows, dropped = imported(lines(task), "self-instruct")
    assert [row.reason for row in dropped] == ["empty answer", "other columns"]
    assert ["instance 2" in dropped[0].detail, "instance 4" in dropped[1].detail] == [True, True]
    write.export(rows, "alpaca", str(tmp_path / "out"), "")
    rest = {"id": "t1", "name": "kind", "is_classification": True}
    assert read(tmp_path / "out") == [
        {"instruction": "What is it?", "input": "Ob", "output": "river", **rest},
        {"instruction": "What is it?", "input": "", "output": "none", **rest, "instance": {"note": 1}},
    ]


def real(name: str) -> Path:
    if not (DATA / name).is_file():
        pytest.skip(f"shared/data/{name} is not beside this checkout")
    return DATA / name


@pytest.mark.parametrize(
    ("name", "format", "reasons"),
    [
        ("alpaca/alpaca_4000.json", "alpaca", {"empty answer": 1}),
        ("im/alpagasus_3k_dolly.jsonl", "messages", {"duplicate": 1}),
    ],
)
def test_real_files_come_back_as_they_were(
    name: str, format: Any, reasons: dict[str, int], imported: Any, tmp_path: Path
) -> None:
    source = real(name)
    conversations, dropped = imported(source, format)
    assert {row.reason: 1 for row in dropped} == reasons
    write.export(conversations, format, str(tmp_path / "out"), "")
    gone = [json.loads(row.text) for row in dropped]
    assert read(tmp_path / "out") == [row for row in read(source) if row not in gone]


def test_the_real_seed_tasks_become_alpaca_rows(imported: Any, tmp_path: Path) -> None:
    source = real("seeds/self_instruct_175.jsonl")
    conversations, dropped = imported(source, "self-instruct")
    assert dropped == []
    write.export(conversations, "alpaca", str(tmp_path / "out"), "")
    expected = [
        {**{k: v for k, v in task.items() if k != "instances"}, **i} for task in read(source) for i in task["instances"]
    ]
    assert read(tmp_path / "out") == expected


def test_the_real_reference_set_is_read_by_its_columns(imported: Any) -> None:
    source = real("reference/alpaca_eval_gpt4_256.arrow")
    conversations, dropped = imported(source, "hf")
    with pa.memory_map(str(source)) as handle:
        rows = pa.ipc.open_stream(handle).read_all().to_pylist()
    assert dropped == []
    assert [c.turns for c in conversations] == [(row["instruction"], row["response"]) for row in rows]
