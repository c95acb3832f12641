"""Which rows descend from one another, so that a split cannot part them."""

import pytest

from pipelines.core.records import Instruction
from pipelines.train.lineage import by_id, of_task


def task(id: str, *parents: str, group: str = "") -> Instruction:
    return Instruction(id, id, "", "bootstrap" if parents else "seed", "train", parents, "", "", group)


TASKS = by_id(
    [
        task("seed"),
        task("rewritten", "seed", group="prompt 1"),
        task("again", "rewritten", group="prompt 2"),
        task("born", "seed", "other", group="prompt 3"),
        task("sibling", "other", "seed", group="prompt 3"),
        task("lonely", "seed", "other"),
        task("example of born", "born", group="prompt 3"),
        task("orphan", "not among these"),
        task("chick", "egg"),
        task("egg", "chick"),
        task("seed", "again"),  # a rewriting that came out as the seed: the seed was there first
    ]
)


@pytest.mark.parametrize(
    ("id", "lineage"),
    [
        ("seed", "seed"),
        ("rewritten", "seed"),
        ("again", "seed"),
        ("born", "prompt 3"),
        ("sibling", "prompt 3"),
        ("lonely", "lonely"),
        ("example of born", "prompt 3"),
        ("orphan", "not among these"),
        ("unknown", "unknown"),
    ],
)
def test_a_task_belongs_to_what_it_was_made_of(id: str, lineage: str) -> None:
    assert of_task(id, TASKS) == lineage


def test_two_that_were_made_of_each_other_end_somewhere() -> None:
    assert of_task("chick", TASKS) in ("chick", "egg")
