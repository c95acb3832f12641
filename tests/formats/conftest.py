"""What the tests of formats share: files to import, and what became of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.core.parts import dropped_of, rows_of
from pipelines.core.records import Conversation, Dropped
from pipelines.core.storage import Folder
from pipelines.formats import ImportFormat, folder

Imported = tuple[list[Conversation], list[Dropped]]


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., Path]:
    """Rows, or lines as they are, to a file of JSON lines."""

    def make(*rows: Any) -> Path:
        file = tmp_path / "rows.jsonl"
        file.write_bytes(
            b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)
        )
        return file

    return make


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., Imported]:
    """imported(file, format): (conversations, dropped rows), from a folder of their own."""
    made = 0

    def make(source: Path | str, format: ImportFormat, split: str | None = None) -> Imported:
        nonlocal made
        made += 1
        out = Folder(str(tmp_path / f"imported-{made}"))
        done = folder.import_(str(source), format, out.uri, split)
        conversations, dropped = list(rows_of(out, Conversation)), list(dropped_of(out))
        assert (done.manifest["rows"], sum(done.manifest["dropped"].values())) == (len(conversations), len(dropped))
        return conversations, dropped

    return make
