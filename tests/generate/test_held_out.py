"""The held-out tasks: taken apart, and the training pool checked against them."""

from collections.abc import Callable

import pytest

from pipelines.core import parts
from pipelines.core.records import Instruction, Split
from pipelines.core.stage import StageRun
from pipelines.generate import held_out


def task(text: str, split: Split = "train", parents: tuple[str, ...] = ()) -> Instruction:
    return Instruction(Instruction.make_id(text, ""), text, "", "seed", split, parents, "", "")


APART = [task("List ten rivers of Asia.", "held_out"), task("Explain how bread is baked.", "held_out")]
TRAINED = [task("Write a poem about rain."), task("Name two kings.")]


def taken_apart(stage_run: Callable[..., StageRun], *pool: Instruction) -> tuple[StageRun, object]:
    made = stage_run("any")
    seeds, trained_on = made.runs.child("seeds"), made.runs.child("pool")
    parts.write_rows(seeds, [TRAINED[0], APART[0], TRAINED[1], APART[1]], Instruction)
    parts.write_rows(trained_on, [*TRAINED, *pool], Instruction)
    run = stage_run("held_out", seeds=seeds, pool=trained_on)
    return run, held_out.run(0.7, run)


def test_the_held_out_tasks_and_no_others_are_passed_on(stage_run: Callable[..., StageRun]) -> None:
    run, outcome = taken_apart(stage_run, task("Suggest a name for a cat.", parents=(TRAINED[0].id,)))
    assert list(parts.rows_of(run.folder, Instruction)) == APART
    assert outcome.facts == {"checked_against": 3}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("leaked", "words"),
    [
        (task("List ten long rivers of Asia."), "is like the held-out"),
        (task("Suggest a name for a cat.", parents=(TRAINED[0].id, APART[1].id)), "descends from a held-out task"),
    ],
    ids=["alike", "descendant"],
)
def test_a_leak_into_the_training_pool_stops_the_run(
    stage_run: Callable[..., StageRun], leaked: Instruction, words: str
) -> None:
    with pytest.raises(AssertionError, match=words):
        taken_apart(stage_run, leaked)
