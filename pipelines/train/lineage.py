"""What a row descends from: rows of one lineage stay on one side of a split, as they say much the same.

Knows instructions and their parents. A rewriting or an instance belongs to the task that it was made of, however many
generations ago. A task with several parents is like none of them: it belongs to the prompt that it was born of, as
do the others of that prompt.
"""

from collections.abc import Iterable, Mapping

from pipelines.core.records import Instruction

Tasks = Mapping[str, Instruction]  # by id


def by_id(tasks: Iterable[Instruction]) -> Tasks:
    """The first of each id: a task that several stages hand on is the one that the first of them made."""
    found: dict[str, Instruction] = {}
    for task in tasks:
        found.setdefault(task.id, task)
    return found


def of_task(id: str, tasks: Tasks) -> str:
    """The lineage of a task; its own id where nothing is known of it."""
    seen: set[str] = set()
    while (task := tasks.get(id)) is not None and len(task.parents) == 1 and id not in seen:
        seen.add(id)
        (id,) = task.parents
    return (task.group or id) if task is not None and task.parents and id not in seen else id
