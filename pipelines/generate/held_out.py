"""The held-out tasks, apart from everything that is trained on: by construction, and checked here.

Knows the split that `seeds` made and the finished training pool. A training instruction too like a held-out one
is a bug of ours (both stages filter against it), so the check asserts.
"""

from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Instruction
from pipelines.core.stage import Outcome, StageRun
from pipelines.generate.novelty import Pool


def run(max_rouge_l: float, run: StageRun) -> Outcome:
    """Rows = the held-out seed tasks."""
    apart = list(rows_of(run.inputs["seeds"].folder, Instruction, lambda i: i.split == "held_out"))
    pool = Pool(max_rouge_l)
    for instruction in apart:
        pool.add(instruction.text)
    ids = {i.id for i in apart}
    checked = 0
    for trained_on in rows_of(run.inputs["pool"].folder, Instruction):
        near = pool.nearest(trained_on.text)
        assert near is None, f"{trained_on.text!r} is like the held-out {near.text!r}"
        assert trained_on.id not in ids, f"{trained_on.id} is held out"
        assert ids.isdisjoint(trained_on.parents), f"{trained_on.id} descends from a held-out task"
        checked += 1
    write_rows(run.folder, apart, Instruction)
    rows, digest, dropped = summary(run.folder, Instruction)
    return Outcome(rows, digest, dropped, facts={"checked_against": checked})
