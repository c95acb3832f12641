"""Which tasks a recipe names, and what of them enters a stage's key.

Knows names of the harness's own tasks, task files and folders of the user's, and ours. Does not import the harness: a
plan is made without it.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipelines.core.errors import UserError
from pipelines.core.hashing import file_digest

BUILTIN = "builtin"
PACKAGE = "lm-eval"
_OWN = Path(__file__).parent / "own_tasks"
_IGNORED = "__pycache__"  # the harness may import a module that lies beside a task


def harness_version() -> str:
    """The installed harness's. UserError where there is none."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError as error:
        raise UserError(
            f"benchmarks: the package {PACKAGE} (lm-evaluation-harness) is not installed; "
            "pip install 'tutelage[bench]' installs a version that fits"
        ) from error


def place_of(task: str) -> Path | None:
    """A task's file, or a folder of them; None for a name that the harness knows. UserError for a path to nothing."""
    if task == BUILTIN:
        return _OWN
    if "/" not in task and not task.endswith(".yaml"):
        return None
    place = Path(task).expanduser().resolve()
    if not (place.is_dir() and any(place.rglob("*.yaml"))) and not (place.is_file() and place.suffix == ".yaml"):
        raise UserError(
            f"benchmarks.tasks: {task!r} is neither a task's YAML file nor a folder of such files; "
            "a name that the harness knows has no `/` and no `.yaml` in it"
        )
    return place


def content_key(task: str) -> list[str]:
    """A local task is its folder's content, as its data and code lie beside it; any other the harness's version of it.

    What a name stands for on the model hub is not seen.
    """
    place = place_of(task)
    if place is None:
        return [task, harness_version()]
    folder = place if place.is_dir() else place.parent
    files = sorted(file for file in folder.rglob("*") if file.is_file() and _IGNORED not in file.parts)
    named = "" if place.is_dir() else place.name
    return [named, *(f"{file.relative_to(folder)} {file_digest(file)}" for file in files)]
