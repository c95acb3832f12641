"""Real dirt: each bad row is kept with its reason and place, each good one goes on, each mistake is told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.core.errors import UserError
from pipelines.core.manifest import read as manifest_of
from pipelines.core.storage import Folder
from pipelines.formats import ImportFormat, folder, sources

GOOD = {"instruction": "Sing.", "input": "", "output": "La."}
ASKS, SAYS = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}
SYSTEM = {"role": "system", "content": "Be short."}


def chat(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages)}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"instruction": "cut o', "not JSON"),
        (b'{"instruction": "\xff\xfe"}', "not JSON"),
        (b'{"n": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"42", "not an object"),
        (b"null", "not an object"),
        (b'"a plain text"', "not an object"),
        (b"{}", "other columns"),
        ({"prompt": "Sing.", "completion": "La."}, "other columns"),
        ({"instruction": "Hum."}, "other columns"),
        ({"instruction": " ", "output": "La."}, "empty question"),
        ({"instruction": "Hum.", "output": " \n"}, "empty answer"),
        ({"instruction": "Hum.", "output": None}, "empty answer"),
        (b'{"instruction": "Hum.", "output": NaN}', "empty answer"),
        ({"instruction": "Hum.", "output": 42}, "not text"),
        ({"instruction": "Hum.", "input": {"a": 1}, "output": "La."}, "not text"),
        (b'{"instruction": "Hum \\ud83d", "output": "La."}', "bad text"),
        (b'{"instruction": "Hum.", "output": "La.", "more": "\\ud83d"}', "bad text"),
        (GOOD, "duplicate"),
        ({**GOOD, "score": 3}, "duplicate"),
    ],
    ids=str,
)
def test_a_bad_row_is_kept_with_its_line_and_the_others_go_on(
    bad: Any, reason: str, lines: Callable[..., Path], imported: Any
) -> None:
    rows, [dropped] = imported(lines(GOOD, b"", bad, {**GOOD, "output": "Lo."}), "alpaca")
    assert [row.turns[1] for row in rows] == ["La.", "Lo."]
    assert (dropped.reason, dropped.stage) == (reason, "import")
    assert dropped.detail.startswith("rows.jsonl, line 3: ")
    assert dropped.text


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (chat(), "no turns"),
        (chat(SYSTEM), "no turns"),
        (chat(SAYS), "roles out of order"),
        (chat(ASKS, ASKS, SAYS), "roles out of order"),
        (chat(ASKS, SAYS, SAYS), "roles out of order"),
        (chat(SYSTEM, SYSTEM, ASKS, SAYS), "roles out of order"),
        (chat(ASKS, SYSTEM, SAYS), "roles out of order"),
        (chat(ASKS), "no last answer"),
        (chat(ASKS, SAYS, ASKS), "no last answer"),
        (chat(ASKS, {"role": "assistant", "content": ""}), "empty answer"),
        (chat(ASKS, {"role": "assistant", "content": None, "tool_calls": []}), "empty answer"),
        (chat({"role": "user", "content": ""}, SAYS), "empty question"),
        (chat(ASKS, {"role": "tool", "content": "3"}, SAYS), "other roles"),
        (chat(ASKS, {"role": 7, "content": "3"}), "other roles"),
        (chat(ASKS, {"role": "assistant"}), "bad message"),
        (chat(ASKS, "So."), "bad message"),
        (chat({"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, SAYS), "not text"),
        (chat({"role": "user", "content": [{"type": "text", "text": 3}]}, SAYS), "not text"),
        ({"messages": "Why?"}, "other columns"),
    ],
    ids=str,
)
def test_a_bad_conversation_is_kept_with_its_reason(
    bad: Any, reason: str, lines: Callable[..., Path], imported: Any
) -> None:
    rows, [dropped] = imported(lines(bad, chat(ASKS, SAYS)), "messages")
    assert [row.turns for row in rows] == [("Why?", "So.")]
    assert dropped.reason == reason


def test_text_parts_are_joined_and_speakers_have_many_names(lines: Callable[..., Path], imported: Any) -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "Why"}, {"type": "text", "text": "?"}]}
    [row], _ = imported(lines(chat({"role": "developer", "content": "Be short."}, parts, SAYS)), "messages")
    assert (row.system, row.turns) == ("Be short.", ("Why?", "So."))
    talks = [
        [{"from": "Human", "value": "1"}, {"from": "chatgpt", "value": "a"}],
        [{"from": "user", "value": "2"}, {"from": "assistant", "value": "b"}],
        [{"role": "user", "content": "3"}, {"role": "assistant", "content": "c"}],
    ]
    rows, _ = imported(lines(*({"conversations": talk} for talk in talks)), "sharegpt")
    assert [row.turns for row in rows] == [("1", "a"), ("2", "b"), ("3", "c")]


def test_a_system_text_beside_the_conversation_is_its_system_text(lines: Callable[..., Path], imported: Any) -> None:
    talk = [{"from": "human", "value": "1", "id": 5}, {"from": "gpt", "value": "a"}]
    [row], _ = imported(lines({"system": "Be short.", "conversations": talk}), "sharegpt")
    assert row.system == "Be short."
    assert json.loads(row.extra) == {"conversations": [{}, {"id": 5}, {}]}


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
        b"\xef\xbb\xbf\n" + json.dumps([GOOD], indent=2).encode(),
        json.dumps(GOOD).replace("{", "{\n").encode(),
        json.dumps(GOOD).encode() + b"\r\n\r\n",
        json.dumps({"version": "1", "data": [GOOD]}).encode(),
        json.dumps({"data": [GOOD]}, indent=2).encode(),
        json.dumps([[], GOOD]).encode(),
        json.dumps({**GOOD, "output": "La." * 2_000_000}).encode(),
        json.dumps({**GOOD, "score": float("nan"), "far": float("inf")}).encode(),
    ],
    ids=["BOM", "BOM, list", "over several lines", "CRLF", "wrapper", "long wrapper", "odd list", "huge line", "NaN"],
)
def test_odd_files_are_read(text: bytes, lines: Callable[..., Path], imported: Any) -> None:
    [row], _ = imported(lines(text), "alpaca")
    assert (row.turns[0], row.turns[1][:3]) == ("Sing.", "La.")


def test_rows_are_many_and_stay_in_order(lines: Callable[..., Path], imported: Any) -> None:
    rows, dropped = imported(lines(*({**GOOD, "output": f"La {n % 900}."} for n in range(1000))), "alpaca")
    assert [row.turns[1] for row in rows] == [f"La {n}." for n in range(900)]
    assert (len(dropped), dropped[0].detail) == (
        100, "rows.jsonl, line 901: duplicate: the same conversation as line 1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "format", "words"),
    [
        (b"", "alpaca", "is empty"),
        (b"\n \n", "alpaca", "holds no rows"),
        (b'[{"instruction": "cut o', "alpaca", "cannot be read to its end: Unterminated string .*char"),
        ("[{}]".encode("utf-16"), "alpaca", "is UTF-16"),
        (json.dumps(GOOD).encode(), "sharegpt", "1 rows, dropped: 1 other columns; .*; it looks like --from alpaca"),
        (json.dumps(chat(ASKS, SAYS)).encode(), "alpaca", "it looks like --from messages"),
        (json.dumps({"conversations": []}).encode(), "messages", "it looks like --from sharegpt"),
        (json.dumps({"instruction": "", "instances": []}).encode(), "alpaca", "it looks like --from self-instruct"),
        (json.dumps({"prompt": "A"}).encode(), "alpaca", "1 other columns; the first: source, line 1: .* not prompt$"),
        (
            json.dumps({**GOOD, "output": ""}).encode(),
            "alpaca",
            "1 empty answer; the first: .* says nothing$",
        ),
        (json.dumps(GOOD).encode(), "parquet", "is no Parquet file; it looks like --from alpaca"),
        (b"PAR1 and no more", "messages", "is no JSON file; it looks like --from parquet"),
        (b"PAR1 and no more", "parquet", "cannot be read as Parquet"),
        (b"ARROW1 and no more", "hf", "cannot be read as an Arrow file"),
        (json.dumps(GOOD).encode(), "hf", "is no Arrow file; it looks like --from alpaca"),
    ],
    ids=str,
)
def test_a_file_without_conversations_is_told_and_nothing_is_left(
    content: bytes, format: ImportFormat, words: str, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(content)
    with pytest.raises(UserError, match=words):
        folder.import_(str(tmp_path / "source"), format, str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_places_that_do_not_fit_are_told(lines: Callable[..., Path], tmp_path: Path) -> None:
    source = str(lines(GOOD))
    for arguments, words in (
        ((str(tmp_path / "absent"), "alpaca", str(tmp_path / "out")), "no file or folder"),
        ((str(tmp_path), "alpaca", str(tmp_path / "out")), "is a folder"),
        ((str(tmp_path), "hf", str(tmp_path / "out")), "saved with save_to_disk"),
        ((str(tmp_path), "parquet", str(tmp_path / "out")), "does not hold Parquet files"),
        ((source, "alpaca", source), "already there"),
        ((source, "alpaca", "s3://bucket/out"), "a path on this machine"),
        ((source, "alpaca", f"{source}/out"), "cannot be written"),
        ((source, "alpaca", str(tmp_path / "out"), "test"), "--split goes with"),
    ):
        with pytest.raises(UserError, match=words):
            folder.import_(*arguments)  # type: ignore[arg-type]


def test_the_folder_says_what_it_was_made_of(lines: Callable[..., Path], tmp_path: Path) -> None:
    source, out = lines(GOOD, GOOD, 7), str(tmp_path / "out")
    folder.import_(str(source), "alpaca", out)
    manifest = manifest_of(Folder(out))
    assert manifest is not None
    assert (manifest["stage"], manifest["rows"]) == ("import", 1)
    assert manifest["dropped"] == {"duplicate": 1, "not an object": 1}
    assert manifest["facts"] == {"file": "rows.jsonl", "read": 3}
    assert manifest["config"] == {"format": "alpaca", "source": sources.file_digest(source)}
    assert folder.is_imported(out)
    assert not folder.is_imported(str(tmp_path))
