"""A file, carried in a job's log: Ray's Jobs API hands over words, and no files.

Knows how bytes become lines between two marks, and are found again, whole or not at all. As a command it runs where the
file can be read: `python -m pipelines.runs.carried URI`.
"""

import base64
import gzip
import sys

from pipelines.core.storage import Folder

BEGIN, END = "-----BEGIN CARRIED FILE-----", "-----END CARRIED FILE-----"


def lines(data: bytes) -> str:
    """Short lines of plain letters, which no log breaks."""
    return f"{BEGIN}\n{base64.encodebytes(gzip.compress(data)).decode()}{END}"


def found(log: str) -> bytes | None:
    """The file that a log carries; None where there is none, or not all of it."""
    _, begun, rest = log.partition(BEGIN)
    carried, ended, _ = rest.partition(END)
    return gzip.decompress(base64.b64decode(carried)) if begun and ended else None


def main() -> None:
    file = Folder(sys.argv[1])
    print(lines(file.parent.read_bytes(file.name)))


if __name__ == "__main__":
    main()
