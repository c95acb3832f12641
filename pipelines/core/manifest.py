"""The manifest: written last, so that its existence means the stage is done.

Knows one file, `manifest.json`. "Done" also asks that the inputs still have the content it was made from.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipelines.core.stage import Done, Outcome, Stage
from pipelines.core.storage import Folder

FILE = "manifest.json"


def write(
    stage: Stage, folder: Folder, inputs: Mapping[str, Done], outcome: Outcome, seconds: float, fence: int = 0
) -> Done:
    """Seal a stage's folder. `fence` is the number under which the writer held it; 0 where nobody shares it."""
    manifest = {
        "stage": stage.kind,
        "key": stage.key,
        "version": stage.version,
        "config": dict(stage.config),
        "inputs": {
            role: {"folder": done.folder.name, "digest": done.manifest["digest"]} for role, done in inputs.items()
        },
        **asdict(outcome),
        "seconds": round(seconds, 2),
        "fence": fence,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    folder.write_json(FILE, manifest)
    return Done(folder, manifest)


def read(folder: Folder) -> Mapping[str, Any] | None:
    """The manifest, or None where the stage has not finished."""
    return folder.read_json(FILE) if folder.exists(FILE) else None


def read_done(stage: Stage, folder: Folder, inputs: Mapping[str, Done]) -> Done | None:
    """The finished stage, or None where there is none or an input has changed since."""
    manifest = read(folder)
    if manifest is None:
        return None
    now = {role: done.manifest["digest"] for role, done in inputs.items()}
    made_from = {role: value["digest"] for role, value in manifest["inputs"].items()}
    return Done(folder, manifest) if now == made_from else None
