"""Runs stages in order, skips those that are done, and keeps the run's folder true.

Knows stages, manifests, the locks of the folders that it fills, and the run's status file. Does not know what any stage
does.
A run's folder is `<runs>/run-<recipe>-<key>/`: recipe.yaml, run.json (stages and status), logs/, report.*
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.core import lock, manifest
from pipelines.core.errors import BudgetReached, Unreachable, UserError
from pipelines.core.hashing import key_of
from pipelines.core.progress import Progress
from pipelines.core.stage import Done, Stage, StageRun
from pipelines.core.storage import Folder

State = Literal["done", "partial", "to do"]
STATUS_FILE = "run.json"


@dataclass(frozen=True)
class Planned:
    """One stage as `plan` shows it."""

    stage: Stage
    state: State
    done: Done | None


@dataclass(frozen=True)
class Finished:
    """One stage after a run: what it made, and whether it was there before."""

    stage: Stage
    done: Done
    cached: bool


def run_name(recipe_name: str, stages: Sequence[Stage]) -> str:
    """The run's folder name; equal stages give the equal run."""
    return f"run-{recipe_name}-{key_of(*[stage.key for stage in stages])[:10]}"


def plan(stages: Sequence[Stage], runs: Folder) -> list[Planned]:
    """What is done, begun and to do. Reads manifests only."""
    done: dict[str, Done] = {}
    rows = []
    for stage in stages:
        folder = runs.child(stage.folder_name)
        found = None
        if all(parent.key in done for parent in stage.inputs.values()):
            found = manifest.read_done(stage, folder, _inputs(stage, done))
        if found:
            done[stage.key] = found
        begun = bool(folder.files() or folder.folders())
        state: State = "done" if found else "partial" if begun else "to do"
        rows.append(Planned(stage, state, found))
    return rows


def run(stages: Sequence[Stage], runs: Folder, run_folder: Folder, progress: Progress) -> list[Finished]:
    """Run what is not done, in order. Whatever ends it early, the next call goes on from there."""
    done: dict[str, Done] = {}
    finished: list[Finished] = []
    started, began = time.time(), time.monotonic()

    def status(state: str, **more: Any) -> None:
        keys = [s.folder_name for s in stages]
        timing = {"started": started, "seconds": round(time.monotonic() - began, 1)}
        run_folder.write_json(STATUS_FILE, {"status": state, "stages": keys, **timing, **more})

    status("running")
    for stage in stages:
        inputs = _inputs(stage, done)
        found = manifest.read_done(stage, runs.child(stage.folder_name), inputs)
        cached = found is not None
        try:
            done[stage.key] = found or _run_one(stage, runs, inputs, progress)
        except (BudgetReached, SystemExit):  # the latter is what a driver of Ray makes of SIGTERM
            status("stopped", at=stage.name)
            raise
        except (Exception, KeyboardInterrupt) as error:
            with suppress(UserError, Unreachable):  # what ended the run may also be what it cannot be noted on
                status("failed", at=stage.name, error=f"{type(error).__name__}: {error}"[:2000])
            raise
        finished.append(Finished(stage, done[stage.key], cached))
    status("done")
    return finished


def ready_folder(runs: Folder) -> None:
    """Refuse a runs folder that cannot be written, before anything starts."""
    try:
        runs.write_bytes("writable", b"")
        runs.remove("writable")
    except (OSError, UserError) as error:
        raise UserError(
            f"the runs folder {runs.uri} cannot be written ({error}); choose another with --runs"
        ) from error


def _run_one(stage: Stage, runs: Folder, inputs: Mapping[str, Done], progress: Progress) -> Done:
    """Fill a stage's folder, which no other driver may do meanwhile. UserError where one does."""
    folder = runs.child(stage.folder_name)
    with lock.held(runs, stage.folder_name, progress.note) as mine:
        if found := manifest.read_done(stage, folder, inputs):
            return found  # another run's driver finished it just now
        _drop_what_other_inputs_made(folder, inputs)
        began = time.monotonic()
        progress.guard = mine.check
        try:
            outcome = stage.run(StageRun(folder, inputs, runs, progress, mine.confirm))
        finally:
            progress.guard = lambda: None
            progress.end()
        mine.confirm()
        return manifest.write(stage, folder, inputs, outcome, time.monotonic() - began, mine.fence)


def _drop_what_other_inputs_made(folder: Folder, inputs: Mapping[str, Done]) -> None:
    """A folder begun from inputs whose content has changed since is started afresh."""
    now = {role: done.manifest["digest"] for role, done in inputs.items()}
    if folder.exists("begun.json") and folder.read_json("begun.json") != now:
        folder.delete()
    folder.write_json("begun.json", now)


def _inputs(stage: Stage, done: Mapping[str, Done]) -> dict[str, Done]:
    return {role: done[parent.key] for role, parent in stage.inputs.items()}
