"""A file of rows without those that are near an earlier one: `tutelage dedupe`.

Knows JSON lines, and JSON files that hold one list of objects; which rows are read, kept or dropped and why; and that
an output is there whole or not at all. What near means is the pool's to say (`novelty.Pool`, or one of `alike`). Rows
are taken in the file's order, the first of near ones is kept. A line that cannot be read is dropped with its reason,
and the rest goes on. Lines are counted from 1, in a list its items.
"""

import codecs
import difflib
import json
import os
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from cluster.models import resolve
from pipelines.core.errors import UserError
from pipelines.core.progress import Progress
from pipelines.generate.alike import EmbeddingPool, MinHashPool, Seen, embedder
from pipelines.generate.novelty import Pool

_NO_FIELD = "no such field"

Measure = Literal["rouge-l", "minhash", "embedding"]
Way = Callable[[float, Iterable[str]], Seen]  # a threshold, and all texts that will come


@dataclass(frozen=True)
class Row:
    """A line as read: its bytes, and the value they hold. `reason` where they hold none."""

    line: int
    raw: bytes
    value: Any
    reason: str = ""


@dataclass(frozen=True)
class Drop:
    """Why a row was dropped, and where that is because it is near another: which, and how near."""

    reason: str
    score: float | None = None
    nearest: dict[str, Any] | None = None


@dataclass
class Counts:
    """What became of the rows."""

    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)  # of objects without the field
    seconds: float = 0.0

    @property
    def read(self) -> int:
        return self.kept + self.dropped.total()

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.dropped.most_common())
        why = f" ({reasons})" if reasons else ""
        return f"read {self.read:,}, kept {self.kept:,}, dropped {self.dropped.total():,}{why}"

    def add(self, row: Row, drop: Drop | None) -> None:
        if drop is None:
            self.kept += 1
            return
        self.dropped[drop.reason] += 1
        if drop.reason == _NO_FIELD:
            self.keys.update(row.value)


def way(measure: Measure, model: str | None) -> Way:
    """How rows are compared. UserError for a model that is missing, or that nothing asks for."""
    if (measure == "embedding") != (model is not None):
        words = "needs --model, whose embeddings are compared" if model is None else "has no use for --model"
        raise UserError(f"--method {measure} {words}")
    if measure == "minhash":
        return lambda threshold, texts: MinHashPool(threshold)
    if model is not None:
        found = resolve(model, "--model")
        return lambda threshold, texts: EmbeddingPool(threshold, texts, embedder(str(found.folder())))
    return by_rouge_l


def by_rouge_l(threshold: float, texts: Iterable[str]) -> Seen:
    return Pool(threshold)


def dedupe(
    source: Path,
    text_field: str,
    threshold: float,
    out: Path,
    dropped: Path | None,
    progress: Progress,
    make_pool: Way = by_rouge_l,
) -> Counts:
    """Write the rows of `source` that are new to `out`, and the others with their reasons to `dropped`."""
    if not 0 < threshold <= 1:
        raise UserError(f"--threshold {threshold:g}: give a similarity above 0 and at most 1, for example 0.7")
    _refuse_same_file({"the input": source, "--out": out, "--dropped": dropped})
    began = time.monotonic()
    rows, total = _rows(source)
    # The last to be opened is the first to be renamed, so the kept rows appear when everything else is there.
    with _whole(out, "--out") as kept_file, _whole(dropped, "--dropped") if dropped else nullcontext() as dropped_file:
        progress.begin("dedupe", total)
        try:
            pool = make_pool(threshold, _texts(source, text_field))
            counts = _sift(rows, text_field, pool, kept_file, dropped_file, progress)
        finally:
            progress.end()
        if not counts.kept:
            raise UserError(_nothing_kept(source, text_field, counts))
    counts.seconds = time.monotonic() - began
    return counts


def _sift(
    rows: Iterable[Row],
    text_field: str,
    pool: Seen,
    kept_file: IO[bytes],
    dropped_file: IO[bytes] | None,
    progress: Progress,
) -> Counts:
    counts = Counts()
    lines = array("Q")  # of the kept rows, in the pool's order
    for row in rows:
        drop = _judge(row, text_field, pool, lines)
        counts.add(row, drop)
        if drop is None:
            kept_file.write(row.raw)
        elif dropped_file is not None:
            dropped_file.write(_json_line({"line": row.line, **asdict(drop), "row": row.value}))
        progress.advance(1)
    return counts


def _judge(row: Row, text_field: str, pool: Seen, lines: "array[int]") -> Drop | None:
    """Why a row is dropped; None where it is new, and it is in the pool from now on."""
    if reason := row.reason or _unfit(row.value, text_field):
        return Drop(reason)
    text = row.value[text_field]
    near = pool.nearest(text)
    if near is None:
        pool.add(text)
        lines.append(row.line)
        return None
    nearest = {"line": lines[near.row], "text": near.text}
    return Drop("same text" if near.text == text else "near", near.score, nearest)


def _texts(source: Path, text_field: str) -> Iterator[str]:
    """What the rows say, for a pool that looks ahead; nothing is read for one that does not."""
    rows, _ = _rows(source)
    for row in rows:
        if not (row.reason or _unfit(row.value, text_field)):
            yield row.value[text_field]


def _unfit(value: Any, text_field: str) -> str:
    """Why a row has no text to compare; empty where it has one."""
    if not isinstance(value, dict):
        return "not an object"
    if text_field not in value:
        return _NO_FIELD
    if not isinstance(value[text_field], str):
        return "not a string"
    return "" if value[text_field].strip() else "empty"


def _rows(source: Path) -> tuple[Iterable[Row], int]:
    """The rows of a file, and how many there are. UserError where it cannot be read."""
    with _open(source) as file:
        total = sum(1 for _ in file)
        file.seek(0)
        first = next((line for line in file if line.strip()), b"")
    if first.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        values = _list(source)
        if values is not None:
            return (Row(n, _json_line(value), value) for n, value in enumerate(values, 1)), len(values)
    return _lines(source), total


def _list(source: Path) -> list[Any] | None:
    """The list that the file holds; None where it holds lines of which the first is a list."""
    with _open(source) as file:
        data = file.read()
    try:
        values: list[Any] = json.loads(data)
    except (ValueError, RecursionError) as error:
        if not _parsed(1, data.lstrip().split(b"\n", 1)[0]).reason:
            return None
        raise UserError(f"{source}: begins like a JSON list and is none: {error}") from error
    return values


def _lines(source: Path) -> Iterator[Row]:
    with _open(source) as file:
        for number, raw in enumerate(file, 1):
            yield _parsed(number, raw)


@contextmanager
def _open(source: Path) -> Iterator[IO[bytes]]:
    try:
        with source.open("rb") as file:
            yield file
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}; give a JSON lines file") from error


def _parsed(number: int, raw: bytes) -> Row:
    if not raw.strip():
        return Row(number, raw, "", "empty")
    try:
        return Row(number, raw, json.loads(raw))
    except (ValueError, RecursionError):  # also bytes that are no text, and numbers beyond Python's digits
        return Row(number, raw, raw.decode("utf-8", "replace").rstrip("\r\n"), "not JSON")


def _json_line(value: Any) -> bytes:
    """One line of UTF-8; where a text holds half a character, which UTF-8 cannot say, its escape."""
    try:
        return (json.dumps(value, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(value) + "\n").encode()


def _refuse_same_file(files: dict[str, Path | None]) -> None:
    """UserError where two of the files are one, by whatever name."""
    seen: dict[Path, str] = {}
    for name, file in files.items():
        if file is None:
            continue
        first = seen.setdefault(file.resolve(), name)
        if first != name:
            raise UserError(f"{name} {file} is the same file as {first}; give another name")


@contextmanager
def _whole(file: Path, option: str) -> Iterator[IO[bytes]]:
    """A file that takes its name when everything is written, and is not there at all if that fails."""
    place = file.resolve()
    temporary = place.with_name(f".{place.name}-{os.getpid()}.tmp")
    try:
        if place.exists() and not place.is_file():
            raise UserError(f"{option} {file}: is there and is no plain file; give another name")
        with temporary.open("wb") as handle:
            yield handle
        os.replace(temporary, place)
    except OSError as error:
        raise UserError(f"{option} {file}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _nothing_kept(source: Path, text_field: str, counts: Counts) -> str:
    if not counts.read:
        return f"{source}: holds no rows"
    near = difflib.get_close_matches(text_field, counts.keys, n=3)
    there = ", ".join(repr(key) for key in near or sorted(counts.keys)[:12])
    hint = f"; did you mean {there}?" if near else f"; there are the fields {there}" if there else ""
    return f"{source}: no row has a text in the field {text_field!r} ({counts}){hint}"
