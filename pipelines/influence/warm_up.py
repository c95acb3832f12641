"""Which of a round's examples the student warms up on, and which it is probed with.

Knows the prompts that their tasks were asked for with. The first examples warm up, and a prompt's are never parted, as
preferences are between the completions of one prompt. (The released code of arXiv 2410.14208 parts rows by position
alone, and loses the pairs of the prompt that it parts.)
"""

from collections.abc import Sequence
from typing import Literal

from pipelines.core.errors import UserError
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Instruction, TrainExample
from pipelines.core.stage import Outcome, StageRun

Half = Literal["warm", "probe"]
STAGES: dict[Half, str] = {"warm": "warm_rows", "probe": "probe_rows"}


def parted(examples: Sequence[TrainExample], group: dict[str, str], rows: int) -> dict[Half, list[TrainExample]]:
    """Whole prompts, in the order of their first example, warm up until there are `rows`; all others are probed."""
    by_prompt: dict[str, list[TrainExample]] = {}
    for example in examples:
        by_prompt.setdefault(group[example.instruction_id], []).append(example)
    halves: dict[Half, list[TrainExample]] = {"warm": [], "probe": []}
    for its in by_prompt.values():
        halves["warm" if len(halves["warm"]) < rows else "probe"] += its
    return halves


def run(half: Half, rows: int, run: StageRun) -> Outcome:
    """One half of the input `examples`, whose tasks are `tasks`. UserError where nothing is left to probe."""
    group = {task.id: task.group for task in rows_of(run.inputs["tasks"].folder, Instruction)}
    examples = list(rows_of(run.inputs["examples"].folder, TrainExample))
    halves = parted(examples, group, rows)
    if not halves["probe"]:
        raise UserError(
            f"rounds.warm_up.rows: {rows} of {len(examples)} examples warm up, and none is left to be probed; raise "
            "instructions.target, or warm up on fewer"
        )
    write_rows(run.folder, halves[half], TrainExample)
    return Outcome(*summary(run.folder, TrainExample))
