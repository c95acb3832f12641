"""The tasks that a teacher wrote itself, without the seeds that it was shown."""

from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Instruction
from pipelines.core.stage import Outcome, StageRun


def run(run: StageRun) -> Outcome:
    """Rows in the order of the input."""
    new = list(rows_of(run.inputs["source"].folder, Instruction, lambda task: task.origin != "seed"))
    write_rows(run.folder, new, Instruction)
    return Outcome(*summary(run.folder, Instruction))
