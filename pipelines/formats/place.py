"""A file or folder on the local disk that is there whole or not at all. Knows nothing of what is in it."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.core.errors import UserError


@contextmanager
def whole(path: str) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it gets its name when the block ends well, else it is removed.

    UserError where `path` is taken, so nothing is ever overwritten.
    """
    if "://" in path:
        raise UserError(f"--out {path}: a path on this machine is expected")
    target = Path(path).expanduser().absolute()
    if os.path.lexists(target):
        raise UserError(f"--out {path} is already there; choose another name, or remove it first")
    temporary = target.with_name(f"_tmp-{uuid.uuid4().hex}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.rename(target)
        finally:
            _remove(temporary)
    except OSError as error:
        raise UserError(f"--out {path} cannot be written: {error.strerror or error}") from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
