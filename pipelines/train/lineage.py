"""What a row descends from: rows of one lineage stay on one side of a split, as they say much the same.

Knows instructions and their parents. A rewriting or an instance belongs to the task that it was made of, however many
generations ago. A task with several parents is like none of them: it belongs to the prompt that it was born of, as
do the others of that prompt.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipelines.core.records import Instruction


class Birth(NamedTuple):
    """What is remembered of a task: not its text, as all tasks of a run are held at one time."""

    parents: tuple[str, ...]
    group: str


Births = Mapping[str, Birth]  # by the tasks' ids
_OF_A_SEED = Birth((), "")


def by_id(tasks: Iterable[Instruction]) -> Births:
    """The first of each id: a task that several stages hand on is the one that the first of them made."""
    found: dict[str, Birth] = {}
    for task in tasks:
        found.setdefault(task.id, Birth(task.parents, task.group) if task.parents else _OF_A_SEED)
    return found


def of_task(id: str, tasks: Births) -> str:
    """The lineage of a task; its own id where nothing is known of it."""
    seen: set[str] = set()
    while (task := tasks.get(id)) is not None and len(task.parents) == 1 and id not in seen:
        seen.add(id)
        (id,) = task.parents
    return (task.group or id) if task is not None and task.parents and id not in seen else id
