"""The shipped recipes that write data, from seeds to answers, with the fake teacher in the model's place."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines.core import parts, recipe_file, runner
from pipelines.core.progress import Progress
from pipelines.core.recipe import Generate
from pipelines.core.records import Answer, Instruction
from pipelines.core.runner import Finished
from pipelines.core.storage import Folder
from pipelines.recipes import generate
from pipelines.report.page import html
from pipelines.runs import lineage, reporting

if TYPE_CHECKING:
    from tests.conftest import FakeFaculty

ROOM = "instructions.sampling.max_tokens=1000"  # the tiny tokenizer needs many tokens for few words


class Shipped:
    """A shipped recipe, run in this process."""

    def __init__(self, name: str, sets: Sequence[str], folder: Path, runs: Folder, faculty: "FakeFaculty") -> None:
        fake = f"teachers.main={{kind: fake, model: {folder}}}"
        recipe = recipe_file.load(name, [fake, *sets])
        assert isinstance(recipe, Generate)
        self.recipe, self.runs = recipe, runs
        self.stages = generate.stages(recipe, faculty)
        self.folder = runs.child(runner.run_name(recipe.name, self.stages))
        self.finished: Sequence[Finished] = []

    def run(self, quiet: Progress) -> None:
        self.finished = runner.run(self.stages, self.runs, self.folder, quiet)

    def made(self, stage: str) -> Folder:
        return next(f.done.folder for f in self.finished if f.stage.name == stage)

    def tasks(self, stage: str) -> list[Instruction]:
        return list(parts.rows_of(self.made(stage), Instruction))

    def answers(self) -> list[Answer]:
        return list(parts.rows_of(self.made("answers"), Answer))


Start = Callable[..., Shipped]


@pytest.fixture
def start(model: Path, runs: Folder, quiet: Progress, make_faculty: Callable[..., "FakeFaculty"]) -> Start:
    def make(name: str, *sets: str) -> Shipped:
        shipped = Shipped(name, sets, model, runs, make_faculty())
        shipped.run(quiet)
        return shipped

    return make


def assert_whole(shipped: Shipped, tasks: str) -> None:
    """Every answer has its task, leads back to a seed, and is in the report."""
    of_id = {task.id: task for task in shipped.tasks(tasks)}
    answers = shipped.answers()
    assert answers
    assert all(of_id[a.instruction_id].text in a.prompt for a in answers)
    new = next(a for a in answers if of_id[a.instruction_id].origin == "bootstrap")
    assert any(line.strip().startswith("seed ") for line in lineage.trace(new.id, shipped.runs.uri))
    report = reporting.of_run(shipped.recipe, shipped.folder, shipped.stages)
    assert report.status == "done"
    assert report.examples
    assert {row.label for row in report.funnel} == {f.stage.name for f in shipped.finished}
    assert "Some rows of the data" in html(report)


def test_self_instruct(start: Start) -> None:
    shipped = start(
        "self-instruct", "instructions.target=20", ROOM,
        "instances.task_type_sampling.max_tokens=8", "instances.sampling.max_tokens=1000",
    )  # fmt: skip
    assert [f.stage.name for f in shipped.finished] == ["seeds", "instructions", "task_types", "instances", "answers"]
    new = [task for task in shipped.tasks("task_types") if task.origin == "bootstrap"]
    assert {task.task_type for task in new} == {"generation", "classification"}
    examples = [task for task in shipped.tasks("instances") if task.origin == "bootstrap"]
    assert len(examples) == 40
    assert all(task.input and task.reference for task in examples)
    seeds = [task for task in shipped.tasks("instances") if task.origin == "seed"]
    assert len(shipped.answers()) == len(examples) + len(seeds) == 40 + 200
    assert_whole(shipped, "instances")


def test_alpaca(start: Start) -> None:
    shipped = start("alpaca", "instructions.target=20", ROOM)
    assert [f.stage.name for f in shipped.finished] == ["seeds", "instructions", "answers"]
    new = [task for task in shipped.tasks("instructions") if task.origin == "bootstrap"]
    assert len(new) == 20
    assert {bool(task.input) for task in new} == {True, False}
    assert all(len(task.parents) == 3 for task in new)
    assert len(shipped.answers()) == 220
    assert_whole(shipped, "instructions")


def test_tagged(start: Start) -> None:
    shipped = start("tagged", "instructions.target=20", ROOM)
    groups: dict[str, int] = {}
    for task in shipped.tasks("instructions"):
        if task.origin == "bootstrap":
            groups[task.group] = groups.get(task.group, 0) + 1
    assert 2 <= max(groups.values()) <= 4
    assert_whole(shipped, "instructions")


def test_answer_given(start: Start) -> None:
    shipped = start("answer-given")
    assert len(shipped.answers()) == len(shipped.tasks("instructions")) == 200


def test_evol(start: Start) -> None:
    shipped = start("evol", ROOM)
    assert [f.stage.name for f in shipped.finished] == ["seeds", "evolved_1", "evolved_2", "instructions", "answers"]
    generations = [{task.id: task for task in shipped.tasks(f"evolved_{n}")} for n in (1, 2)]
    assert all(set(task.parents) <= generations[0].keys() for task in generations[1].values())
    assert len(shipped.answers()) == len(shipped.tasks("instructions")) > 500
    assert_whole(shipped, "instructions")
