"""Model folders that are made or fetched once on a machine and kept.

Knows where they lie, how one comes to be whole or not at all, and how it is seen that one still is. Does not know what
is in them.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.core.errors import UserError
from pipelines.core.hashing import file_digest, key_of
from pipelines.core.storage import Folder

MIB = 2**20


def cache_root() -> Path:
    """Where what was made is kept: $TUTELAGE_CACHE, or ~/.cache/tutelage."""
    return Path(os.environ.get("TUTELAGE_CACHE", "~/.cache/tutelage")).expanduser()


def model_folder(digest: str) -> Path:
    return cache_root() / "models" / digest[:16]


def made_once(digest: str, what: str, module: str, *arguments: str) -> Path:
    """The folder of this digest, made by `python -m module ARGUMENTS FOLDER` where it is not there yet.

    A process of its own, so that the driver never holds torch, and what the libraries say goes to a file.
    """
    target = model_folder(digest)
    if target.is_dir():
        return target
    partial = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    log = target.with_suffix(".log")
    with log.open("w") as out:
        command = [sys.executable, "-m", module, *arguments, str(partial)]
        if subprocess.run(command, stdout=out, stderr=out, check=False).returncode:
            raise RuntimeError(f"{what} failed; see {log}")
    try:
        partial.rename(target)
    except OSError:  # another process was first; its folder holds the same
        shutil.rmtree(partial)
    return target


def fetched(source: Folder) -> Path:
    """The folder on this machine's disk; one on an object store is copied, once per node for all its processes.

    A copy belongs to the content that the store tells of, so that a changed folder is another copy. One that is not
    what was fetched any more is fetched again.
    """
    if source.is_local:
        return source.local_path()
    stamps = source.stamps()
    if not stamps:
        raise UserError(f"{source.uri}: there is nothing in this folder")
    target = cache_root() / "fetched" / key_of("fetched", sorted(map(list, stamps.items())))
    with _one_process(target):
        if not _is_whole(target):
            _fetch(source, target)
    return target


def _fetch(source: Folder, target: Path) -> None:
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    size, done = source.size(), 0

    def moved(count: int) -> None:
        nonlocal done
        done += count
        print(f"  fetching {source.name}: {done // MIB:,} of {size // MIB:,} MiB", file=sys.stderr, flush=True)

    partial.mkdir(parents=True)
    source.download(partial, moved)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    _note(target).write_text(json.dumps(_digests(target)))


def _is_whole(target: Path) -> bool:
    return _note(target).is_file() and json.loads(_note(target).read_text()) == _digests(target)


def _note(target: Path) -> Path:
    return target.with_suffix(".json")


def _digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): cached_digest(path) for path in files}


@contextmanager
def _one_process(target: Path) -> Iterator[None]:
    """One process of this machine at a time; the kernel lets the next one in where one dies."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def cached_digest(file: Path) -> str:
    """A file's digest, remembered by path, size and time, so that `plan` answers at once for big models."""
    status = file.stat()
    note = cache_root() / "digests" / key_of(str(file.resolve()), status.st_size, status.st_mtime_ns)
    if note.is_file():
        return note.read_text()
    digest = file_digest(file)
    note.parent.mkdir(parents=True, exist_ok=True)
    partial = note.with_name(f"{note.name}.{uuid.uuid4().hex[:8]}.partial")
    partial.write_text(digest)
    partial.replace(note)  # whoever reads it meanwhile sees all of it or nothing
    return digest
