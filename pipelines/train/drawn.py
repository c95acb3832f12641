"""So many of a stage's examples, drawn by the seed: a budget that several students share."""

from heapq import nsmallest

from pipelines.core.hashing import key_of
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import TrainExample
from pipelines.core.stage import Outcome, StageRun
from pipelines.train.examples import sizes


def run(rows: int, seed: int, run: StageRun) -> Outcome:
    """All where there are fewer."""
    everything = rows_of(run.inputs["examples"].folder, TrainExample)
    kept = nsmallest(rows, everything, key=lambda example: key_of("budget", seed, example.id))
    write_rows(run.folder, kept, TrainExample)
    count, digest, dropped = summary(run.folder, TrainExample)
    return Outcome(count, digest, dropped, facts=sizes(kept))
