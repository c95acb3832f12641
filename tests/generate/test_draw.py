"""Which tasks a round gets: a pure function of the seed and the round, other ones while there are others."""

from collections.abc import Callable

import pytest

from pipelines.core.parts import rows_of, write_rows
from pipelines.core.records import Instruction, Split
from pipelines.core.stage import StageRun
from pipelines.core.storage import Folder
from pipelines.generate import draw
from pipelines.generate.draw import drawn

IDS = [f"task-{n}" for n in range(10)]


def test_rounds_have_other_tasks_while_there_are_others() -> None:
    first, second, third = (drawn(IDS, 4, round, seed=1) for round in (1, 2, 3))
    assert [len(ids) for ids in (first, second, third)] == [4, 4, 4]
    assert first.isdisjoint(second)
    assert len(third - first - second) == 2  # the two that were left, and two again
    assert drawn(IDS, 4, 6, seed=1) == first  # five rounds of four are the ten tasks twice


def test_a_draw_depends_on_seed_and_round_alone() -> None:
    assert drawn(reversed(IDS), 4, 2, seed=1) == drawn([*IDS, *IDS], 4, 2, seed=1)
    assert drawn(IDS, 4, 1, seed=1) != drawn(IDS, 4, 1, seed=2)


def test_no_task_comes_twice_in_a_round() -> None:
    assert drawn(IDS, 25, 1, seed=1) == drawn(IDS, 25, 7, seed=1) == set(IDS)
    assert drawn([], 4, 3, seed=1) == set()


def _task(text: str, split: Split = "train") -> Instruction:
    return Instruction(text, text, "", "seed", split, (), "", "")


def test_the_rows_are_the_rounds_tasks_in_their_order(runs: Folder, stage_run: Callable[..., StageRun]) -> None:
    write_rows(runs.child("tasks"), [_task(id) for id in IDS], Instruction)
    outcome = draw.run(4, 2, 1, stage_run("tasks_2", source=runs.child("tasks")))
    made = [task.id for task in rows_of(runs.child("tasks_2"), Instruction)]
    assert made == [id for id in IDS if id in drawn(IDS, 4, 2, seed=1)]
    assert outcome.rows == 4


def test_a_held_out_task_among_them_is_our_bug(runs: Folder, stage_run: Callable[..., StageRun]) -> None:
    write_rows(runs.child("tasks"), [_task("a", "held_out")], Instruction)
    with pytest.raises(AssertionError, match="held out"):
        draw.run(4, 1, 1, stage_run("tasks_1", source=runs.child("tasks")))
