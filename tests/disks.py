"""A disk of its own size for a test, which can be filled up.

Knows mounting, which wants the system's administrator. Does not know what lies on it.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BLOCK = 4096  # a file takes whole ones


class NotAllowed(RuntimeError):
    """This user, or this container, may not mount."""


class SmallDisk:
    """A folder on a disk of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def leave(self, free: int) -> None:
        """Let so many bytes be free, and no more, whatever else lies there."""
        self._ballast.unlink(missing_ok=True)
        look = os.statvfs(self.path)
        with self._ballast.open("wb") as handle:
            os.posix_fallocate(handle.fileno(), 0, max(1, look.f_bavail * look.f_frsize - free))


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[SmallDisk]:
    """A new disk at a folder that is there. NotAllowed where that cannot be."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        raise NotAllowed(mounted.stderr.strip())
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
