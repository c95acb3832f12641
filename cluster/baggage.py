"""What travels with a job, as Ray's runtime environment: a folder of its own, and the code where nodes may not have it.

Knows how tutelage was installed here. Takes no environment variables along: keys are the nodes' own.
"""

import json
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

PACKAGES = Path(__file__).parents[1]


def runtime_env(folder: Path | None = None) -> dict[str, Any]:
    """For a job whose command runs in a copy of this folder."""
    packed: dict[str, Any] = {"excludes": ["__pycache__/", "*.pyc"]}
    if folder is not None:
        packed["working_dir"] = str(folder)
    if is_checkout():
        packed["py_modules"] = [str(PACKAGES / name) for name in ("cluster", "pipelines", "serving")]
    return packed


def is_checkout() -> bool:
    """Whether the code here is a checkout, which may be changed at any time, and not an installed wheel."""
    origin = json.loads(distribution("tutelage").read_text("direct_url.json") or "{}")
    return bool(origin.get("dir_info", {}).get("editable"))
