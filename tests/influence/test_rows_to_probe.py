"""Which rows there are: the reference set, a user's own, and the halves of a round."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.core.config import Probe
from pipelines.core.errors import UserError
from pipelines.core.parts import dropped_of, rows_of, write_rows
from pipelines.core.records import Conversation, Dropped, Instruction, TrainExample
from pipelines.core.storage import Folder
from pipelines.influence import given_rows, reference_rows, warm_up


def encode(row: Conversation) -> TrainExample | Dropped:
    """An example that says what it was made of; long texts are too long."""
    if len(row.turns[-1]) > 100:
        return Dropped(row.id, "examples", "too long", row.turns[0], "")
    return TrainExample(f"example of {row.id}", row.id, row.id, "answer", (1, 2), (0.0, 1.0), "|".join(row.turns))


def task(n: int, split: Any = "train", reference: str = "An answer.") -> Instruction:
    return Instruction(f"seed {n}", f"Do {n}.", "", "seed", split, (), "", reference)


@pytest.fixture
def seeds(tmp_path: Path) -> Folder:
    folder = Folder(str(tmp_path / "seeds"))
    tasks = [*map(task, range(6)), task(6, "held_out"), task(7, reference=" "), task(8, reference="x" * 101)]
    write_rows(folder, tasks, Instruction)
    return folder


def probe(**reference: Any) -> Probe:
    return Probe.model_validate({"reference": {"path": "seeds", **reference}})


def test_the_seeds_own_answers_but_for_what_is_held_out(seeds: Folder, stage_run: Callable[..., Any]) -> None:
    run = stage_run("reference", seeds=seeds)
    outcome = reference_rows.run(probe(), "rounds.probe", 17, encode, iter(["Do 6."]), run)
    assert {row.answer_id for row in rows_of(run.folder, TrainExample)} == {f"seed {n}" for n in range(6)}
    assert (outcome.rows, outcome.dropped) == (6, {"too long": 1})


def test_a_limit_is_drawn_by_the_seed(seeds: Folder, stage_run: Callable[..., Any]) -> None:
    drawn = []
    for seed in (1, 2, 1):
        run = stage_run(f"reference_{seed}", seeds=seeds)
        reference_rows.run(probe(limit=3), "rounds.probe", seed, encode, iter(()), run)
        drawn.append([row.id for row in rows_of(run.folder, TrainExample)])
    assert drawn[0] == drawn[2] != drawn[1]


def test_what_is_evaluated_on_is_no_reference(seeds: Folder, stage_run: Callable[..., Any]) -> None:
    run = stage_run("reference", seeds=seeds)
    with pytest.raises(UserError, match=r"rounds.probe.reference: 1 of its 7 prompts are evaluated on"):
        reference_rows.run(probe(), "rounds.probe", 17, encode, iter(["Do 3."]), run)
    there = probe().model_copy(update={"evaluated_too": True})
    assert reference_rows.run(there, "rounds.probe", 17, encode, iter(["Do 3."]), run).rows == 6


def test_one_row_is_no_reference_set(seeds: Folder, stage_run: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=r"rows are left of 1; at least 2 are needed"):
        reference_rows.run(probe(limit=1), "rounds.probe", 3, encode, iter(()), stage_run("reference", seeds=seeds))


def test_a_users_rows_are_read_or_dropped_with_their_place(tmp_path: Path, stage_run: Callable[..., Any]) -> None:
    good = [
        {"instruction": "Buy.", "response": "Yes."},
        {"id": 7, "instruction": "Sell.", "input": "A", "response": "No."},
    ]
    bad = [{"id": "e", "instruction": "Buy.", "response": " "}, {"instruction": 3, "response": "x"}, {}, [1]]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join([*map(json.dumps, [*good, *bad, {**good[0], "response": "y" * 101}]), "{not JSON"]))
    run = stage_run("probe_rows")
    outcome = given_rows.run(given_rows.file_of(str(file)), encode, run)
    kept = list(rows_of(run.folder, TrainExample))
    assert [row.lineage for row in kept] == ["Buy.|Yes.", "Sell.|No."]
    assert kept[1].answer_id == "7"
    assert outcome.dropped == {"empty": 1, "not a row": 4, "too long": 1}
    assert {row.stage for row in dropped_of(run.folder)} == {"probe_rows"}


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(UserError, match="--rows: there is no file"):
        given_rows.file_of("nowhere.jsonl")


def test_whole_prompts_warm_up_until_there_are_enough(stage_run: Callable[..., Any], tmp_path: Path) -> None:
    groups = {"t1": "p", "t2": "q", "t3": "p", "t4": "q", "t5": "r"}
    examples = [TrainExample(id, id, id, "answer", (1, 2), (0.0, 1.0)) for id in groups]
    halves = warm_up.parted(examples, groups, 3)
    assert [row.id for row in halves["warm"]] == ["t1", "t3", "t2", "t4"]  # q began before there were three
    assert [row.id for row in halves["probe"]] == ["t5"]
    folders = [Folder(str(tmp_path / name)) for name in ("examples", "tasks")]
    write_rows(folders[0], examples, TrainExample)
    write_rows(folders[1], [replace(task(0), id=id, group=group) for id, group in groups.items()], Instruction)
    run = stage_run("warm_rows", examples=folders[0], tasks=folders[1])
    assert warm_up.run("warm", 3, run).rows == 4
    with pytest.raises(UserError, match=r"5 of 5 examples warm up, and none is left"):
        warm_up.run("warm", 5, run)
