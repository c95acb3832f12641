"""Folders on this machine's disk or on an object store (s3://, gs://, az://).

Knows bytes and tables. How a file is written whole or not at all is in `disk.py` and `objects.py`. Does not know
stages, keys or records' meaning. A name with a separator or `..` is refused, so nothing is written outside the folder.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import url2pathname

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.core.disk import Disk
from pipelines.core.errors import UserError
from pipelines.core.objects import Objects
from pipelines.core.tables import from_table, to_table

R = TypeVar("R")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*\Z")


@dataclass(frozen=True)
class Folder:
    """A folder by URI (`s3://bucket/runs`) or local path. Pickles as its URI."""

    uri: str

    def __post_init__(self) -> None:
        """A local path is made absolute here: workers of a cluster have another working folder."""
        if "://" not in self.uri:
            object.__setattr__(self, "uri", os.path.abspath(os.path.expanduser(self.uri)))

    @cached_property
    def _place(self) -> Disk | Objects:
        if self.uri.startswith("file://"):
            return Disk(url2pathname(self.uri.removeprefix("file://")))
        return Objects(self.uri) if "://" in self.uri else Disk(self.uri)

    def __getstate__(self) -> dict[str, str]:
        return {"uri": self.uri}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__.update(state)

    @property
    def name(self) -> str:
        return self._parts()[0].rstrip("/").rsplit("/", 1)[-1]

    @property
    def is_local(self) -> bool:
        return isinstance(self._place, Disk)

    def local_path(self) -> Path:
        """The folder as a local path, made if absent. UserError on an object store."""
        if not isinstance(self._place, Disk):
            raise UserError(f"{self.uri} is not on this machine's disk; this needs a local or mounted folder")
        self._place.path.mkdir(parents=True, exist_ok=True)
        return self._place.path

    @property
    def parent(self) -> "Folder":
        place, question, options = self._parts()
        return Folder(f"{place.rstrip('/').rsplit('/', 1)[0]}{question}{options}")

    def child(self, name: str) -> "Folder":
        return Folder(self.uri_of(name))

    def uri_of(self, name: str) -> str:
        """Where a file or folder in it lies, for people and as a folder of its own."""
        place, question, options = self._parts()
        return f"{place.rstrip('/')}/{_checked(name)}{question}{options}"

    def exists(self, name: str) -> bool:
        return self._place.exists(_checked(name))

    def files(self, suffix: str = "") -> list[str]:
        """Sorted names of the files directly inside; empty where the folder does not exist."""
        return sorted(n for n, is_folder in self._place.entries() if not is_folder and n.endswith(suffix))

    def folders(self) -> list[str]:
        return sorted(n for n, is_folder in self._place.entries() if is_folder)

    def read_bytes(self, name: str) -> bytes:
        return self._place.read(_checked(name))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a whole file or none: temp and rename locally, one PUT on an object store."""
        self._place.write(_checked(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file that must not be there; False where it is. Of several who try, one succeeds."""
        return self._place.create(_checked(name), data)

    def read_json(self, name: str) -> Any:
        return json.loads(self.read_bytes(name))

    def write_json(self, name: str, value: Any) -> None:
        self.write_bytes(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def write_records(self, name: str, records: list[R], kind: type[R], facts: Mapping[str, int] | None = None) -> None:
        """One Parquet file; `facts` go into its footer, where `read_footer` finds them without the rows."""
        table = to_table(records, kind).replace_schema_metadata({"facts": json.dumps(dict(facts or {}))})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self.write_bytes(name, sink.getvalue().to_pybytes())

    def read_footer(self, name: str) -> tuple[int, dict[str, int]]:
        """How many records a file has, and its facts."""
        with closing(self._place.open(_checked(name))) as handle:
            file = pq.ParquetFile(handle)
            return int(file.metadata.num_rows), json.loads(file.schema_arrow.metadata[b"facts"])

    def read_records(self, name: str, kind: type[R], start: int = 0, stop: int | None = None) -> list[R]:
        # Not `pq.read_table`: that imports pandas, which takes a process a second.
        table = pq.ParquetFile(pa.BufferReader(self.read_bytes(name))).read()
        return from_table(table.slice(start, None if stop is None else stop - start), kind)

    def size(self) -> int:
        """Bytes in all files below."""
        return sum(self._place.sizes().values())

    def stamps(self) -> dict[str, str]:
        """What tells each file's content from what it was before, by its path from here."""
        return self._place.stamps()

    def download(self, target: Path, moved: Callable[[int], None] = lambda _: None) -> None:
        """Copy all files below into a folder on this machine's disk; `moved` is told each one's bytes."""
        for path, size in self._place.sizes().items():
            if ".." in path.split("/"):
                raise UserError(f"{self.uri}: {path!r} leads outside the folder")
            here = target / path
            here.parent.mkdir(parents=True, exist_ok=True)
            self._place.download(path, here)
            moved(size)

    def upload(self, source: Path) -> None:
        """Copy all files below a folder on this machine's disk into this one, each whole or not at all."""
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            self._place.upload(file, file.relative_to(source).as_posix())

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        self._place.remove(_checked(name))

    def delete(self) -> None:
        """Remove the folder and everything in it."""
        self._place.delete()

    def _parts(self) -> tuple[str, str, str]:
        """(place, "?", options): an object store's URI may carry options, a local path has none."""
        return self.uri.partition("?") if "://" in self.uri else (self.uri, "", "")


def _checked(name: str) -> str:
    if not _SAFE_NAME.match(name):
        raise UserError(f"{name!r} is not a plain file name (letters, digits, '.', '_', '-', '+')")
    return name
