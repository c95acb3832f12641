"""A folder on this machine's disk, or on one that is mounted here.

Knows how a file is written whole or not at all, and what to say of a disk that is full. Does not know what is in files,
nor which names are allowed.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pipelines.core.errors import UserError

TEMPORARY = "_tmp-"
FULL = (errno.ENOSPC, errno.EDQUOT)
MAKE_ROOM = (
    "Make room (`tutelage rm RUN` frees what no other run uses), and run the same command again: what is done is kept"
)


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
        with self._whole(path, source.stat().st_size) as temporary:
            shutil.copy(source, temporary)

    def open(self, name: str) -> BinaryIO:
        return (self.path / name).open("rb")

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """The whole file or none."""
        with self._whole(name, len(data)) as temporary, temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file that must not be there; False where it is. Of several who try, one succeeds."""
        with self._in_words(name, len(data)):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                handle = (self.path / name).open("xb")
            except FileExistsError:
                return False
            try:
                with handle:
                    handle.write(data)
            except BaseException:
                self.remove(name)  # half of it would stand there for ever
                raise
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
    def _whole(self, name: str, size: int) -> Iterator[Path]:
        """A temporary file, which takes its name in the end, or leaves nothing."""
        with self._in_words(name, size):
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path / f"{TEMPORARY}{uuid.uuid4().hex}"
            try:
                yield temporary
                os.replace(temporary, self.path / name)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise

    @contextmanager
    def _in_words(self, name: str, size: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                raise UserError(self._is_full(name, size, error)) from error
            raise UserError(f"cannot write {self.path / name}: {error.strerror}") from error

    def _is_full(self, name: str, size: int, error: OSError) -> str:
        there = next(folder for folder in (self.path, *self.path.parents) if folder.is_dir())
        free = shutil.disk_usage(there).free
        return (
            f"cannot write the {size:,} bytes of {self.path / name}: {error.strerror} ({free:,} bytes are free there). "
            + MAKE_ROOM
        )
