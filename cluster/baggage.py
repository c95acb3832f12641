"""What travels with a job, as Ray's runtime environment: a folder of its own, and the code where nodes may not have it.

Knows how tutelage was installed here. Takes no environment variables along: keys are the nodes' own.
"""

import json
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

PACKAGES = Path(__file__).parents[1]
FOLDER = "tutelage_job"  # what a job's own folder is called


def runtime_env(folder: Path | None = None) -> dict[str, Any]:
    """What Ray is asked to bring to each node; the job's own folder, named FOLDER, is one of the modules.

    Not as a working folder: of several nodes on one machine each makes that anew, under the feet of a running job.
    """
    assert folder is None or folder.name == FOLDER
    code = [PACKAGES / name for name in ("cluster", "pipelines", "serving")] if is_checkout() else []
    modules = [str(module) for module in ([folder, *code] if folder else code)]
    return {"py_modules": modules, "excludes": ["__pycache__/", "*.pyc"]}


def in_folder(command: str) -> str:
    """The command, given in the job's own folder: it lies at the same place on all nodes."""
    return f"cd \"$(python -c 'import {FOLDER}; print(*{FOLDER}.__path__)')\" && {command}"


def is_checkout() -> bool:
    """Whether the code here is a checkout, which may be changed at any time, and not an installed wheel."""
    origin = json.loads(distribution("tutelage").read_text("direct_url.json") or "{}")
    return bool(origin.get("dir_info", {}).get("editable"))
