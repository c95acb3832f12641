"""Folders on any pyarrow filesystem: local disk, s3://, gs://.

Knows bytes, tables, and how to write a whole object or none. Does not know stages, keys or records' meaning.
A name with a separator or `..` is refused, so nothing can be written outside the folder.
"""

import json
import os
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from pipelines.core.errors import UserError
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
    def _place(self) -> tuple[pafs.FileSystem, str]:
        try:
            if "://" in self.uri:
                place: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(self.uri)
                return place
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"the folder {self.uri!r} cannot be opened: {error}") from error
        return pafs.LocalFileSystem(), self.uri

    def __getstate__(self) -> dict[str, str]:
        return {"uri": self.uri}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__.update(state)

    @property
    def name(self) -> str:
        return self._parts()[0].rstrip("/").rsplit("/", 1)[-1]

    @property
    def is_local(self) -> bool:
        return isinstance(self._place[0], pafs.LocalFileSystem)

    def local_path(self) -> Path:
        """The folder as a local path, made if absent. UserError on an object store."""
        if not self.is_local:
            raise UserError(f"{self.uri} is not on this machine's disk; models need a local or mounted folder")
        path = Path(self._place[1])
        path.mkdir(parents=True, exist_ok=True)
        return path

    def child(self, name: str) -> "Folder":
        place, question, options = self._parts()
        return Folder(f"{place.rstrip('/')}/{_checked(name)}{question}{options}")

    def exists(self, name: str) -> bool:
        fs, base = self._place
        return bool(fs.get_file_info(f"{base}/{_checked(name)}").type != pafs.FileType.NotFound)

    def files(self, suffix: str = "") -> list[str]:
        """Sorted names of the files directly inside; empty where the folder does not exist."""
        return sorted(n for n, is_folder in self._entries() if not is_folder and n.endswith(suffix))

    def folders(self) -> list[str]:
        return sorted(n for n, is_folder in self._entries() if is_folder)

    def read_bytes(self, name: str) -> bytes:
        fs, base = self._place
        with fs.open_input_stream(f"{base}/{_checked(name)}") as stream:
            data: bytes = stream.read()
        return data

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a whole file or none: temp and rename locally, one PUT on an object store."""
        fs, base = self._place
        target = f"{base}/{_checked(name)}"
        if not self.is_local:
            with fs.open_output_stream(target) as stream:
                stream.write(data)
            return
        temporary = f"{base}/_tmp-{uuid.uuid4().hex}"
        try:
            os.makedirs(base, exist_ok=True)
            with open(temporary, "wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, target)
        except OSError as error:
            with suppress(OSError):
                os.remove(temporary)
            raise UserError(f"cannot write {target}: {error.strerror}") from error

    def read_json(self, name: str) -> Any:
        return json.loads(self.read_bytes(name))

    def write_json(self, name: str, value: Any) -> None:
        self.write_bytes(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def write_records(self, name: str, records: list[R], kind: type[R], facts: Mapping[str, int] | None = None) -> None:
        """One Parquet file; `facts` go into its footer, where `read_facts` finds them without the rows."""
        table = to_table(records, kind).replace_schema_metadata({"facts": json.dumps(dict(facts or {}))})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self.write_bytes(name, sink.getvalue().to_pybytes())

    def read_facts(self, name: str) -> dict[str, int]:
        fs, base = self._place
        with fs.open_input_file(f"{base}/{_checked(name)}") as handle:
            facts: dict[str, int] = json.loads(pq.ParquetFile(handle).schema_arrow.metadata[b"facts"])
        return facts

    def read_records(self, name: str, kind: type[R]) -> list[R]:
        return from_table(pq.read_table(pa.BufferReader(self.read_bytes(name))), kind)

    def row_count(self, name: str) -> int:
        fs, base = self._place
        with fs.open_input_file(f"{base}/{_checked(name)}") as handle:
            return int(pq.ParquetFile(handle).metadata.num_rows)

    def size(self) -> int:
        """Bytes in all files below."""
        fs, base = self._place
        selector = pafs.FileSelector(base, recursive=True, allow_not_found=True)
        return sum(info.size or 0 for info in fs.get_file_info(selector) if info.is_file)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        fs, base = self._place
        if self.exists(name):
            fs.delete_file(f"{base}/{_checked(name)}")

    def delete(self) -> None:
        """Remove the folder and everything in it."""
        fs, base = self._place
        if fs.get_file_info(base).type != pafs.FileType.NotFound:
            fs.delete_dir(base)

    def _parts(self) -> tuple[str, str, str]:
        """(place, "?", options): an object store's URI may carry options, a local path has none."""
        return self.uri.partition("?") if "://" in self.uri else (self.uri, "", "")

    def _entries(self) -> list[tuple[str, bool]]:
        fs, base = self._place
        found = fs.get_file_info(pafs.FileSelector(base, allow_not_found=True))
        return [(i.base_name, i.type == pafs.FileType.Directory) for i in found if i.base_name[:5] != "_tmp-"]


def _checked(name: str) -> str:
    if not _SAFE_NAME.match(name):
        raise UserError(f"{name!r} is not a plain file name (letters, digits, '.', '_', '-', '+')")
    return name
