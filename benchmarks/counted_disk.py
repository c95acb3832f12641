"""A disk that counts what an object store would have been asked for in its place.

Used by the scripts beside it, put where `pipelines.core.storage` has its `Disk`. Knows how `core/objects.py` asks: one
request for each whole object, one for each look, a listing for each thousand names, a request for each range.
"""

from io import BufferedReader
from typing import Any, BinaryIO, ClassVar, cast

from pipelines.core.disk import Disk
from pipelines.core.objects import READ_AHEAD, _Ranges

OPERATIONS = ("HEAD", "GET", "PUT", "LIST", "DELETE")
A_LISTING = 1000  # names that one request tells


class CountedDisk(Disk):
    """All of a process write into one list, as threads may, too."""

    asked: ClassVar[list[str]] = []

    def exists(self, name: str) -> bool:
        self.asked.append("HEAD")
        return super().exists(name)

    def entries(self) -> list[tuple[str, bool]]:
        found = super().entries()
        self.asked.extend(["LIST"] * (1 + len(found) // A_LISTING))
        return found

    def open(self, name: str) -> BinaryIO:
        self.asked.append("HEAD")
        size = (self.path / name).stat().st_size
        return cast(BinaryIO, BufferedReader(_Ranges(cast(Any, self), name, size), READ_AHEAD))

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        self.asked.append("GET")
        with (self.path / name).open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def read(self, name: str) -> bytes:
        self.asked.append("GET")
        return super().read(name)

    def write(self, name: str, data: bytes) -> None:
        self.asked.append("PUT")
        super().write(name, data)

    def create(self, name: str, data: bytes) -> bool:
        self.asked.append("PUT")
        return super().create(name, data)

    def remove(self, name: str) -> None:
        self.asked.append("DELETE")
        super().remove(name)
