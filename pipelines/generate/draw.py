"""Which of the tasks are answered in which round: drawn by the seed, other ones each round while there are others.

Knows tasks and rounds. Does not know who answers.
"""

from collections.abc import Iterable

from pipelines.core.hashing import key_of
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Instruction
from pipelines.core.stage import Outcome, StageRun


def drawn(ids: Iterable[str], size: int, round: int, seed: int) -> set[str]:
    """The ids of one round, counted from 1: `size` of them, or all where there are fewer.

    The seed puts all ids in one order. A round begins where the one before ended; after the last id comes the first.
    """
    order = sorted(set(ids), key=lambda id: key_of("round", seed, id))
    start = (round - 1) * size
    return {order[(start + n) % len(order)] for n in range(min(size, len(order)))}


def run(size: int, round: int, seed: int, run: StageRun) -> Outcome:
    """Rows = the round's tasks, in the order of the input."""
    source = run.inputs["source"].folder
    ids = drawn((task.id for task in rows_of(source, Instruction)), size, round, seed)
    tasks = list(rows_of(source, Instruction, lambda task: task.id in ids))
    held_out = [task.id for task in tasks if task.split == "held_out"]
    assert not held_out, f"{held_out} are held out, and no student may learn them"
    write_rows(run.folder, tasks, Instruction)
    return Outcome(*summary(run.folder, Instruction))
