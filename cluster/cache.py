"""Model folders that are made once on a machine and kept.

Knows where they lie and how one comes to be whole or not at all. Does not know what is in them.
"""

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path


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
