"""What a student should be good at, as a stage: the examples that influence is measured on.

Knows where they come from, and that nothing may be among them that the run is evaluated on. How their loss is measured
is in `reference.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from heapq import nsmallest

from pipelines.core.config import SEED_ANSWERS, Probe
from pipelines.core.errors import UserError
from pipelines.core.hashing import key_of
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Conversation, Dropped, Instruction, TrainExample
from pipelines.core.stage import Done, Outcome, StageRun
from pipelines.train import given_data
from pipelines.train.examples import sizes
from pipelines.train.seed_answers import conversations

STAGE = "reference"
LEAST = 2
Encode = Callable[[Conversation], TrainExample | Dropped]


def run(config: Probe, key: str, seed: int, encode: Encode, evaluated: Iterator[str], run: StageRun) -> Outcome:
    """`key` is the section's in the recipe, `evaluated` the prompts of the evaluation. UserError where they meet."""
    source = config.reference
    rows = _of_seeds(run.inputs["seeds"], source.limit, seed) if source.path == SEED_ANSWERS else None
    rows = given_data.drawn(f"{key}.reference", source, seed) if rows is None else rows
    _check_apart(rows, set(evaluated), config.evaluated_too, key)
    made = list(map(encode, rows))
    kept = [row for row in made if isinstance(row, TrainExample)]
    dropped = [row for row in made if isinstance(row, Dropped)]
    if len(kept) < LEAST:
        raise UserError(
            f"{key}.reference: {len(kept)} rows are left of {len(rows)}; at least {LEAST} are needed, or influence is "
            "how much one row is like another"
        )
    write_rows(run.folder, kept, TrainExample, dropped)
    count, digest, reasons = summary(run.folder, TrainExample)
    return Outcome(count, digest, reasons, facts=sizes(kept))


def _of_seeds(seeds: Done, limit: int | None, seed: int) -> list[Conversation]:
    """The seed tasks that may be trained on, with the answers that came with them."""

    rows = list(conversations(rows_of(seeds.folder, Instruction, lambda task: task.split == "train")))
    return nsmallest(limit or len(rows), rows, key=lambda row: key_of("limit", seed, row.id))


def _check_apart(rows: Sequence[Conversation], evaluated: set[str], evaluated_too: bool, key: str) -> None:
    shared = [row for row in rows if row.messages()[-2]["content"].strip() in evaluated]
    if shared and not evaluated_too:
        raise UserError(
            f"{key}.reference: {len(shared)} of its {len(rows)} prompts are evaluated on, so the evaluation would be "
            f"of what was selected for ({shared[0].turns[0]!r}); take others, or set {key}.evaluated_too to do as the "
            "released code of arXiv 2410.14208 does"
        )
