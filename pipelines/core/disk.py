"""A folder on this machine's disk, or on one that is mounted here.

Knows how a file is written whole or not at all. Does not know what is in files, nor which names are allowed.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pipelines.core.errors import UserError

TEMPORARY = "_tmp-"


class Disk:
    """One folder. It need not exist: what is not there is empty, and the first write makes it."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def exists(self, name: str) -> bool:
        return (self.path / name).exists()

    def entries(self) -> list[tuple[str, bool]]:
        """(name, whether it is a folder) of what lies directly inside."""
        if not self.path.is_dir():
            return []
        with os.scandir(self.path) as found:
            return [(entry.name, entry.is_dir()) for entry in found if not entry.name.startswith(TEMPORARY)]

    def sizes(self) -> dict[str, int]:
        """Bytes of every file below, by its path from here."""
        return {name: look.st_size for name, look in self._looks()}

    def stamps(self) -> dict[str, str]:
        """What tells each file's content from what it was before, by its path from here."""
        return {name: f"{look.st_size}-{look.st_mtime_ns}" for name, look in self._looks()}

    def download(self, path: str, target: Path) -> None:
        shutil.copy(self.path / path, target)

    def upload(self, source: Path, path: str) -> None:
        (self.path / path).parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path / f"{TEMPORARY}{uuid.uuid4().hex}"
        shutil.copy(source, temporary)
        os.replace(temporary, self.path / path)

    def open(self, name: str) -> BinaryIO:
        return (self.path / name).open("rb")

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """The whole file or none: a temporary one that takes its name."""
        with self._in_words(name):
            self.path.mkdir(parents=True, exist_ok=True)
            temporary = self.path / f"{TEMPORARY}{uuid.uuid4().hex}"
            try:
                with temporary.open("wb") as handle:
                    handle.write(data)
                    handle.flush()
                    os.fsync(handle.fileno())
                os.replace(temporary, self.path / name)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file that must not be there; False where it is. Of several who try, one succeeds."""
        with self._in_words(name):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                with (self.path / name).open("xb") as handle:
                    handle.write(data)
            except FileExistsError:
                return False
        return True

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def delete(self) -> None:
        """The folder and everything in it."""
        if self.path.is_dir():
            shutil.rmtree(self.path)

    def _looks(self) -> Iterator[tuple[str, os.stat_result]]:
        for path in self.path.rglob("*"):
            with suppress(FileNotFoundError):  # another process may be at work here
                if path.is_file():
                    yield path.relative_to(self.path).as_posix(), path.stat()

    @contextmanager
    def _in_words(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"cannot write {self.path / name}: {error.strerror}") from error
