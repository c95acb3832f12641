"""A file without its near rows: what is kept, what is said of the rest, and the mistakes a user can make."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.core.errors import UserError
from pipelines.core.progress import Progress
from pipelines.generate.dedupe import Counts, dedupe

POEM = b'{"instruction": "Write a short poem about rain"}\n'
SAME = b'{"instruction": "Write a short poem about rain", "id": 2}\n'
NEAR = b'{"instruction": "write a short poem about the rain!"}\n'
SPACED = b'{ "id":7,"instruction":"Liste zehn Fl\\u00fcsse" }\r\n'
RIVERS = b'{"instruction": "Explain how rivers form"}'


def run(source: Path, quiet: Progress, text_field: str = "instruction", threshold: float = 0.7) -> Counts:
    return dedupe(source, text_field, threshold, source.with_name("kept"), source.with_name("dropped"), quiet)


def write(folder: Path, *lines: bytes) -> Path:
    source = folder / "rows.jsonl"
    source.write_bytes(b"".join(lines))
    return source


def dropped_rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "dropped").read_bytes().splitlines()]


def test_kept_lines_are_as_read_and_the_first_of_near_ones_is_kept(tmp_path: Path, quiet: Progress) -> None:
    counts = run(write(tmp_path, SPACED, POEM, SAME, NEAR, RIVERS), quiet)
    assert (tmp_path / "kept").read_bytes() == SPACED + POEM + RIVERS
    assert (counts.read, counts.kept, counts.dropped) == (5, 3, {"same text": 1, "near": 1})
    assert str(counts) == "read 5, kept 3, dropped 2 (same text 1, near 1)"
    same, near = dropped_rows(tmp_path)
    nearest = {"line": 2, "text": "Write a short poem about rain"}
    assert same == {"line": 3, "reason": "same text", "score": 1.0, "nearest": nearest, "row": json.loads(SAME)}
    assert near == {"line": 4, "reason": "near", "score": 12 / 13, "nearest": nearest, "row": json.loads(NEAR)}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dropped", "kept", "rows.jsonl"]


def test_lines_that_cannot_be_read_are_told_and_the_others_go_on(tmp_path: Path, quiet: Progress) -> None:
    bad = [b"{not json\n", b"\xff\xfe\n", b"[" * 5000 + b"\n", b"9" * 5000 + b"\n", b"[1]\n", b'{"text": "a"}\n',
           b'{"instruction": 7}\n', b'{"instruction": " "}\n', b"\n"]  # fmt: skip
    counts = run(write(tmp_path, POEM, *bad, RIVERS), quiet)
    assert (tmp_path / "kept").read_bytes() == POEM + RIVERS
    rows = dropped_rows(tmp_path)
    assert [(r["line"], r["reason"]) for r in rows] == [
        (2, "not JSON"), (3, "not JSON"), (4, "not JSON"), (5, "not JSON"), (6, "not an object"),
        (7, "no such field"), (8, "not a string"), (9, "empty"), (10, "empty"),
    ]  # fmt: skip
    assert rows[0]["row"] == "{not json"
    assert rows[5]["row"] == {"text": "a"}
    assert {(r["score"], r["nearest"]) for r in rows} == {(None, None)}
    assert counts.dropped.total() == len(bad)


@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf", b"\n  "], ids=["plain", "with a byte order mark", "later"])
def test_a_list_is_read_as_rows_too(tmp_path: Path, quiet: Progress, begin: bytes) -> None:
    rows = [
        {"instruction": "Schreib über 雨"},
        {"instruction": "half \ud800"},
        "no row",
        {"instruction": "half \ud800"},
    ]
    source = write(tmp_path, begin, json.dumps(rows, indent=1).encode())
    assert run(source, quiet).dropped == {"not an object": 1, "same text": 1}
    kept = (tmp_path / "kept").read_bytes()
    assert kept == '{"instruction": "Schreib über 雨"}\n{"instruction": "half \\ud800"}\n'.encode()
    assert [r["line"] for r in dropped_rows(tmp_path)] == [3, 4]
    assert dropped_rows(tmp_path)[1]["nearest"]["line"] == 2


def test_lines_of_which_the_first_is_a_list_are_lines(tmp_path: Path, quiet: Progress) -> None:
    assert run(write(tmp_path, b"[1]\n", POEM, RIVERS), quiet).dropped == {"not an object": 1}


def test_without_dropped_only_the_kept_rows_are_written(tmp_path: Path, quiet: Progress) -> None:
    source, out = write(tmp_path, POEM, NEAR), tmp_path / "link"
    out.symlink_to(tmp_path / "real")
    assert dedupe(source, "instruction", 0.7, out, None, quiet).kept == 1
    assert (tmp_path / "real").read_bytes() == POEM
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real", "rows.jsonl"]


@pytest.mark.parametrize(
    ("content", "text_field", "words"),
    [
        (POEM + RIVERS, "instructon", "did you mean 'instruction'"),
        (POEM + b"\n" + RIVERS, "prompt", "there are the fields 'instruction'"),
        (b'{"instruction": 1}\n', "instruction", "not a string 1"),
        (b"nonsense\n", "instruction", "not JSON 1"),
        (b"", "instruction", "holds no rows"),
        (b"[]", "instruction", "holds no rows"),
        (b"[\n" + POEM, "instruction", "begins like a JSON list and is none"),
    ],
)
def test_where_no_row_has_a_text_nothing_is_written(
    tmp_path: Path, quiet: Progress, content: bytes, text_field: str, words: str
) -> None:
    (tmp_path / "kept").write_text("as it was")
    with pytest.raises(UserError, match=words):
        run(write(tmp_path, content), quiet, text_field)
    assert (tmp_path / "kept").read_text() == "as it was"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept", "rows.jsonl"]


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_a_threshold_that_is_no_f1_is_refused(tmp_path: Path, quiet: Progress, threshold: float) -> None:
    with pytest.raises(UserError, match="--threshold"):
        run(write(tmp_path, POEM), quiet, threshold=threshold)


def test_files_that_cannot_be_are_refused(tmp_path: Path, quiet: Progress) -> None:
    source, other = write(tmp_path, POEM), tmp_path / "other"
    (tmp_path / "alias").symlink_to(source)
    for out, dropped, words in (
        (source, None, "--out .* is the same file as the input"),
        (tmp_path / "alias", None, "--out .* is the same file as the input"),
        (other, source, "--dropped .* is the same file as the input"),
        (other, other, "--dropped .* is the same file as --out"),
        (tmp_path, None, "--out .* no plain file"),
        (Path(os.devnull), None, "--out .* no plain file"),
        (tmp_path / "no" / "such", None, "--out .* cannot be written: No such file"),
        (other, source / "below", "--dropped .* cannot be written: Not a directory"),
    ):
        with pytest.raises(UserError, match=words):
            dedupe(source, "instruction", 0.7, out, dropped, quiet)
    for missing in (tmp_path / "missing", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            dedupe(missing, "instruction", 0.7, other, None, quiet)
    assert source.read_bytes() == POEM
    assert not other.exists()


def test_the_command_and_its_exit_codes(tmp_path: Path) -> None:
    source = write(tmp_path, POEM, NEAR, RIVERS)
    command = [sys.executable, "-m", "pipelines.cli", "dedupe", str(source), "--out", str(tmp_path / "kept")]
    for options, code, words in (
        (["--threshold", "0.95"], 0, "read 3, kept 3, dropped 0 in "),
        (["--dropped", str(tmp_path / "dropped")], 0, "read 3, kept 2, dropped 1 (near 1) in "),
        (["--threshold", "2"], 2, "error: --threshold 2: give"),
        (["--field", "instructions"], 2, "did you mean 'instruction'"),
    ):
        ended = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == code, ended.stderr
        assert words in ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
    assert len(dropped_rows(tmp_path)) == 1
