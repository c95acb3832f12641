"""Given prompts: the seed tasks that are not held out, as they are. No teacher is asked for others."""

from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Instruction
from pipelines.core.stage import Outcome, StageRun


def run(run: StageRun) -> Outcome:
    tasks = rows_of(run.inputs["seeds"].folder, Instruction, lambda i: i.split == "train")
    write_rows(run.folder, tasks, Instruction)
    return Outcome(*summary(run.folder, Instruction))
