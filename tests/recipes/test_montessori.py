"""Rounds in which a teacher is tuned: their stages and keys, what flows between them, and what cannot be asked for.

Whole runs without an engine: the fake teacher writes, training and probing are pretended.
"""

import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from cluster.scratch import scratch
from pipelines.core import runner
from pipelines.core.config import Train
from pipelines.core.lock import LOCKS
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.progress import Progress
from pipelines.core.recipe import Montessori, recipe_of
from pipelines.core.records import (
    Completion,
    HeldOutLoss,
    Influence,
    Instruction,
    Preference,
    TrainExample,
)
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.core.storage import Folder
from pipelines.influence import stage as influence
from pipelines.recipes import montessori
from pipelines.runs import shelf
from pipelines.train import held_out_loss, student
from serving.faculty import ClusterFaculty

DATA = ["instructions", "tasks", "answers", "examples"]
ROUND = ["warm_rows", "probe_rows", "warm", "influence", "preferences", "pairs", "pair_losses"]


@pytest.fixture
def data(recipe_data: dict[str, Any], model: Path) -> dict[str, Any]:
    """A recipe of two rounds; tests change their own copy."""
    return {
        **recipe_data,
        "method": "montessori",
        "instructions": {
            "teacher": "main", "target": 24, "prompt": "tagged-open", "samples": 4, "requests_per_round": 4,
            "sampling": {"max_tokens": 400},
        },
        "answers": {"teacher": "main", "sampling": {"max_tokens": 40}},
        "rounds": {"count": 2, "warm_up": {"rows": 8}, "probe": {"reference": {"path": "seeds", "limit": 6}}},
        "student": {"init": {"kind": "model", "model": str(model)}},
        "evaluate": {"rows": 10, "students": 2},
    }  # fmt: skip


def read(data: dict[str, Any], **changes: dict[str, Any]) -> Montessori:
    """With these settings of a section changed, two sections deep."""
    made = deepcopy(data)
    for section, settings in changes.items():
        for name, value in settings.items():
            there = made[section].get(name)
            made[section][name] = {**there, **value} if isinstance(there, dict) else value
    recipe = recipe_of(made)
    assert isinstance(recipe, Montessori)
    return recipe


def stages(recipe: Montessori) -> dict[str, Stage]:
    return {stage.name: stage for stage in montessori.stages(recipe, ClusterFaculty(recipe))}


def test_each_rounds_teacher_writes_for_the_next(data: dict[str, Any]) -> None:
    made = stages(read(data))
    assert list(made) == [
        "seeds", *(f"{name}_0" for name in DATA), "held_out", "held_out_examples", "reference", "student_init",
        "teacher_0", "budget_0", "student_0", "student_0_no_2",
        *(f"{name}_0" for name in ROUND), "teacher_1", *(f"{name}_1" for name in DATA),
        "budget_1", "student_1", "student_1_no_2",
        *(f"{name}_1" for name in ROUND), "teacher_2", *(f"{name}_2" for name in DATA),
        "budget_2", "student", "student_no_2", "held_out_loss",
    ]  # fmt: skip
    assert made["instructions_1"].inputs == {"seeds": made["seeds"], "writer": made["teacher_1"]}
    assert made["answers_1"].inputs == {"source": made["tasks_1"], "writer": made["teacher_1"]}
    assert made["teacher_2"].inputs == {
        "examples": made["pairs_1"], "init": made["teacher_1"], "reference": made["pair_losses_1"],
    }  # fmt: skip
    assert {made[f"warm_{n}"].inputs["init"].name for n in (0, 1)} == {"student_init"}
    students = [made[name] for name in made if name.startswith("student") and name != "student_init"]
    assert {stage.inputs["init"].name for stage in students} == {"student_init"}
    assert {made[f"influence_{n}"].inputs["reference"].name for n in (0, 1)} == {"reference"}
    assert len({stage.key for name, stage in made.items() if name != "teacher_0"}) == len(made) - 1


def test_a_student_can_stay_warm(data: dict[str, Any]) -> None:
    made = stages(read(data, rounds={"warm_up": {"start": "last"}}))
    assert (made["warm_0"].inputs["init"].name, made["warm_1"].inputs["init"].name) == ("student_init", "warm_0")


def test_one_round_more_goes_on_where_fewer_ended(data: dict[str, Any]) -> None:
    one, two = stages(read(data, rounds={"count": 1})), stages(read(data))
    shared = one.keys() & two.keys() - {"student", "student_no_2", "held_out_loss"}
    assert all(one[name].folder_name == two[name].folder_name for name in shared)
    assert one["student"].folder_name == two["student_1"].folder_name


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"rounds": {"warm_up": {"rows": 9}}}, {"warm_rows_0", "probe_rows_0"}),
        ({"rounds": {"probe": {"method": "exact"}}}, {"influence_0"}),
        ({"rounds": {"probe": {"normalise": "per_example"}}}, {"influence_0"}),
        ({"rounds": {"preferences": {"margin": 0.1}}}, {"preferences_0"}),
        ({"rounds": {"tune": {"learning_rate": 1e-5}}}, {"teacher_1"}),
        ({"evaluate": {"rows": 9}}, {"budget_0", "budget_1", "budget_2"}),
        ({"rounds": {"probe": {"pool": {"max": 4}}}}, set()),
        ({"rounds": {"probe": {"check_every": 4}}}, set()),
    ],
)
def test_a_setting_makes_anew_only_what_it_changes(
    data: dict[str, Any], changes: dict[str, dict[str, Any]], first: set[str]
) -> None:
    before, after = stages(read(data)), stages(read(data, **changes))
    changed = {name for name in before if before[name].key != after[name].key}
    assert {n for n in changed if not changed & {p.name for p in before[n].inputs.values()}} == first


@pytest.mark.parametrize(
    ("section", "value", "words"),
    [
        ("answers", {"teacher": "other"}, "the one that is tuned writes both"),
        ("answers", {"teacher": "main", "samples": 2}, "a row is one completion"),
        ("instructions", {"samples": 1}, "take at least 2"),
        ("student", {"probe": {"reference": {}}}, "here this is rounds.probe"),
        ("student", {"learn": {"method": "im"}}, "here a student learns answers only"),
        ("student", {"train": {"losses": {"dpo": 1}}}, "no data here has them"),
        ("rounds", {"warm_up": {"rows": 24}}, "leave none of instructions.target"),
        ("rounds", {"tune": {"losses": {"answer": 1}}}, "a teacher is tuned on preferences"),
        ("rounds", {"warm_up": {"train": {"losses": {"kd": 1}}}}, "learns answers only"),
        ("evaluate", {"rows": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused_in_words(data: dict[str, Any], section: str, value: Any, words: str) -> None:
    data["teachers"]["other"] = data["teachers"]["main"]
    if section == "student" and "probe" in value:
        value["train"] = {"warm": True}
    whole = {**data, section: {**data[section], **value}}
    with pytest.raises(ValueError, match=words):
        recipe_of(whole)


def test_only_a_teacher_whose_weights_are_here_is_tuned(data: dict[str, Any]) -> None:
    data["teachers"]["main"] = {"kind": "http", "base_url": "http://localhost/v1", "model": "m"}
    with pytest.raises(ValueError, match="only a teacher of kind vllm"):
        recipe_of(data)


class Ran:
    """A run of which nothing is left out but engines."""

    def __init__(self, recipe: Montessori, runs: Folder, quiet: Progress) -> None:
        self.recipe, self.runs = recipe, runs
        self.stages = montessori.stages(recipe, ClusterFaculty(recipe, say=quiet.note))
        self.folder = runs.child(runner.run_name(recipe.name, self.stages))
        self.folder.write_json("recipe.yaml", recipe.model_dump(mode="json"))  # JSON is YAML
        self.finished = runner.run(self.stages, runs, self.folder, quiet)

    def made(self, stage: str) -> Folder:
        return next(f.done.folder for f in self.finished if f.stage.name == stage)

    def rows(self, stage: str, kind: type[Any]) -> list[Any]:
        return list(rows_of(self.made(stage), kind))

    def facts(self, stage: str) -> dict[str, Any]:
        return next(dict(f.done.manifest["facts"]) for f in self.finished if f.stage.name == stage)


@pytest.fixture
def go(runs: Folder, quiet: Progress, model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    def train(config: Train, seed: int, first: Path, open_session: Any, run: StageRun, *more: Any) -> Outcome:
        """A model whose weights are the name of its stage, and a curve of two steps."""
        with scratch(run) as here:
            shutil.copytree(model, here / "model")
            weights = (2).to_bytes(8, "little") + b"{}" + run.folder.name.encode()
            (here / "model" / "model.safetensors").write_bytes(weights)
        curve = [
            {"step": n, "tokens": 50, "losses": dict.fromkeys(config.losses, 1 / n), "learning_rate": 0.1}
            for n in (1, 2)
        ]
        return Outcome(1, run.folder.name, facts={"loss_curve": curve, "tokens": 100, "steps": 2})

    def probe(config: Any, seed: int, name: str, open_session: Any, run: StageRun) -> Outcome:
        """Every other row helps."""
        rows = rows_of(run.inputs["source"].folder, TrainExample)
        found = [
            Influence(f"of {row.id}", row.id, "first_order", 0.1 * (-1) ** n, 1.0, 0.9, 0.95, 0.0, 2.0)
            for n, row in enumerate(rows)
        ]
        write_rows(run.folder, found, Influence)
        facts = {"method": "first_order", "self_check": None, "teacher": "probe", "teacher_digest": "p" * 64}
        return Outcome(*summary(run.folder, Influence), facts={**facts, "retries": 0, "request_seconds": 0.0})

    def measure(folder: Path, examples: Sequence[TrainExample], *more: Any) -> list[tuple[float, int]]:
        return [(float(len(example.token_ids)), 10) for example in examples]

    monkeypatch.setattr(student, "run_train", train)
    monkeypatch.setattr(influence, "run", probe)
    monkeypatch.setattr(held_out_loss, "in_a_worker", measure)
    monkeypatch.setattr(held_out_loss, "parameter_count", lambda folder: 1000)
    monkeypatch.setattr(ClusterFaculty, "at", lambda *_: None)
    return lambda recipe, where=runs: Ran(recipe, where, quiet)


def test_rows_lead_from_a_teacher_to_the_teacher_after_it(
    data: dict[str, Any], go: Callable[[Montessori], Ran]
) -> None:
    ran = go(read(data))
    for n in (0, 1):
        tasks = {task.id: task for task in ran.rows(f"tasks_{n}", Instruction)}
        assert {task.origin for task in tasks.values()} == {"bootstrap"}
        warm, probed = (ran.rows(f"{half}_rows_{n}", TrainExample) for half in ("warm", "probe"))
        groups = [{tasks[row.instruction_id].group for row in half} for half in (warm, probed)]
        assert groups[0].isdisjoint(groups[1])
        assert len(warm) >= 8
        assert len(warm) + len(probed) == len(ran.rows(f"examples_{n}", TrainExample))
        found = {row.row_id: row.influence for row in ran.rows(f"influence_{n}", Influence)}
        of_completion = {tasks[row.instruction_id].completion_id: found[row.id] for row in probed}
        preferences = ran.rows(f"preferences_{n}", Preference)
        assert preferences
        for preference in preferences:
            assert of_completion[preference.chosen_id] > 0 > of_completion[preference.rejected_id]
        pairs = ran.rows(f"pairs_{n}", TrainExample)
        assert [row.component for row in pairs] == ["chosen", "rejected"] * len(preferences)
        assert {row.group for row in pairs} == {preference.id for preference in preferences}
        assert {row.example_id for row in ran.rows(f"pair_losses_{n}", HeldOutLoss)} == {row.id for row in pairs}
    digests = [ran.facts(f"instructions_{n}")["teacher_digest"] for n in range(3)]
    assert len(set(digests)) == 3
    assert [ran.facts(f"answers_{n}")["teacher_digest"] for n in range(3)] == digests
    losses = ran.rows("held_out_loss", HeldOutLoss)
    assert {row.model for row in losses} == {
        "student-before", *(montessori.model_name(rounds, nth) for rounds in range(3) for nth in (1, 2)),
    }  # fmt: skip


def test_a_teacher_that_was_tuned_on_an_object_store_writes_the_next_round(
    data: dict[str, Any], go: Callable[..., Ran], stored_runs: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    recipe = read(data, rounds={"count": 1})
    stored, on_disk = go(recipe, stored_runs), go(recipe)
    assert [each.done.manifest["digest"] for each in stored.finished] == [
        each.done.manifest["digest"] for each in on_disk.finished
    ]
    assert stored.facts("answers_1")["teacher_digest"] == on_disk.facts("answers_1")["teacher_digest"]


def test_a_pair_is_learnt_in_the_tokens_that_were_said(data: dict[str, Any], go: Callable[[Montessori], Ran]) -> None:
    ran = go(read(data, rounds={"count": 1}))
    said = {}
    for book in (ran.runs.child(name) for name in ran.runs.folders() if name.startswith("replies-")):
        said |= {c.id: c for part in book.files(".parquet") for c in book.read_records(part, Completion)}
    for row in ran.rows("pairs_0", TrainExample):
        learnt = tuple(id for id, weight in zip(row.token_ids, row.weights, strict=True) if weight > 0)
        assert learnt == said[row.answer_id].token_ids
    halves = ran.rows("pairs_0", TrainExample)[:2]
    prompts = [row.token_ids[: row.weights.index(1.0)] for row in halves]
    assert prompts[0] == prompts[1]


def test_students_have_one_budget_and_an_order_each(data: dict[str, Any], go: Callable[[Montessori], Ran]) -> None:
    ran = go(read(data))
    assert [len(ran.rows(f"budget_{n}", TrainExample)) for n in range(3)] == [10, 10, 10]
    by_name = {stage.name: stage for stage in ran.stages}
    assert by_name["student"].config["seed"] + 1 == by_name["student_no_2"].config["seed"]
    assert by_name["student"].config["seed"] == by_name["student_0"].config["seed"]


def test_a_second_round_has_rows_of_its_own(data: dict[str, Any], go: Callable[[Montessori], Ran]) -> None:
    ran = go(read(data))
    rows = [{row.id for row in ran.rows(f"probe_rows_{n}", TrainExample)} for n in (0, 1)]
    assert rows[0].isdisjoint(rows[1])


def test_nothing_is_left_of_a_run_that_is_removed(data: dict[str, Any], go: Callable[[Montessori], Ran]) -> None:
    ran = go(read(data))
    shelf.remove(ran.folder.name, ran.runs.uri)
    assert ran.runs.folders() == [LOCKS]
