"""The answers that seed tasks came with, as examples: what somebody wanted to hear, whoever teaches.

Knows tasks and their own answers. Does not know what is measured on them.
"""

from collections.abc import Callable, Iterable, Iterator

from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Conversation, Dropped, Instruction, TrainExample
from pipelines.core.stage import Outcome, StageRun
from pipelines.train.examples import sizes

STAGE = "held_out_examples"


def conversations(tasks: Iterable[Instruction]) -> Iterator[Conversation]:
    """Of the tasks that have an answer."""
    return (Conversation(t.id, "", (t.text, t.reference), t.input, "{}") for t in tasks if t.reference.strip())


def run(encode: Callable[[Conversation], TrainExample | Dropped], run: StageRun) -> Outcome:
    """Rows = examples of the input `held_out`; a task without an answer of its own is dropped."""
    tasks = list(rows_of(run.inputs["held_out"].folder, Instruction))
    made = [encode(row) for row in conversations(tasks)]
    kept = [row for row in made if isinstance(row, TrainExample)]
    dropped = [row for row in made if isinstance(row, Dropped)]
    dropped += [Dropped(t.id, STAGE, "no answer of its own", t.text, "") for t in tasks if not t.reference.strip()]
    write_rows(run.folder, kept, TrainExample, dropped)
    count, digest, reasons = summary(run.folder, TrainExample)
    return Outcome(count, digest, reasons, facts=sizes(kept))
