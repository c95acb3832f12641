"""A stage's folder as a local one, for what has to write to a disk.

Knows that what lies on an object store has a copy here while it is worked on. Does not know what is in it.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.cache import cache_root
from pipelines.core.hashing import key_of
from pipelines.core.stage import StageRun


@contextmanager
def scratch(run: StageRun, stays: str = "_") -> Iterator[Path]:
    """The folder on this machine's disk. One on an object store is copied here, and back when the work ends in any way.

    Folders whose names begin with `stays` are left on the store. A killed driver's copy is not used again: the work may
    have gone on elsewhere since, so what must outlive a kill is uploaded while it is made.
    """
    folder = run.folder
    if folder.is_local:
        yield folder.local_path()
        return
    here = cache_root() / "scratch" / f"{folder.name}-{key_of(folder.uri)}"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    for name in folder.files():
        (here / name).write_bytes(folder.read_bytes(name))
    for name in folder.folders():
        if not name.startswith(stays):
            folder.child(name).download(here / name)
    try:
        yield here
    finally:
        run.confirm()
        folder.upload(here)
        shutil.rmtree(here)
