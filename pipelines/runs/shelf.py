"""The runs folder as a shelf: what is on it, and what can go.

Knows run folders, stage folders, and the completions and signals that stages share. Removes a folder only where
no other run uses it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.core import lock, manifest, runner
from pipelines.core.errors import UserError
from pipelines.core.storage import Folder
from pipelines.generate.ledger import SHARED

RUN = "run-"
_ASKED = (("config", "teacher"), ("facts", "teacher_digest"))  # where a manifest tells digests of who was asked


@dataclass(frozen=True)
class Shelved:
    """One run as the list shows it."""

    name: str
    status: str
    when: str
    size_mib: float


def runs(uri: str) -> list[Shelved]:
    """All runs, newest first."""
    folder = Folder(uri)
    rows = []
    for name in _run_names(folder):
        status = folder.child(name).read_json(runner.STATUS_FILE)
        size = sum(folder.child(s).size() for s in status["stages"]) / 2**20
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(status["started"]))
        rows.append((status["started"], Shelved(name, status["status"], when, size)))
    return [row for _, row in sorted(rows, key=lambda pair: -pair[0])]


def remove(run: str, uri: str, say: Callable[[str], None] = print) -> tuple[list[str], int]:
    """Remove a run; returns (folders removed, bytes freed). UserError where there is no such run, or it is running."""
    folder = Folder(uri)
    name = run.rstrip("/").rsplit("/", 1)[-1]
    names = _run_names(folder)
    if name not in names:
        raise UserError(f"there is no run {name!r} in {uri}; there is: {', '.join(names) or 'none'}")
    with lock.held(folder, name, say):
        return _remove(folder, name, names)


def _remove(folder: Folder, name: str, names: list[str]) -> tuple[list[str], int]:
    """Whoever fills a stage's folder for another run has that run's status file name it, so it is not removed."""
    mine = _used(folder, name)
    others = {used for other in names if other != name for used in _used(folder, other)}
    removed = [n for n in sorted(mine - others) if n in folder.folders()] + [name]
    freed = sum(folder.child(n).size() for n in removed)
    for n in removed:
        folder.child(n).delete()
        if n != name:  # the run's own lock is held
            folder.child(lock.LOCKS).child(n).delete()
    return removed, freed


def _run_names(folder: Folder) -> list[str]:
    return [n for n in folder.folders() if n.startswith(RUN) and folder.child(n).exists(runner.STATUS_FILE)]


def _used(folder: Folder, run: str) -> set[str]:
    """Stage folders of a run, and the shared folders of the teachers that its stages asked."""
    stages = folder.child(run).read_json(runner.STATUS_FILE)["stages"]
    used = set(stages)
    for stage in stages:
        made = manifest.read(folder.child(stage)) or {}
        # A teacher is in its stage's settings; a student that answered is not known before it is trained.
        asked = {str(made[part].get(name, ""))[:16] for part, name in _ASKED if part in made} - {""}
        used |= {f"{prefix}{digest}" for prefix in SHARED.values() for digest in asked}
    return used
