"""Recipes that write data and train nothing: from seeds to answers, their report, their export, and no engine."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pipelines.core import parts, recipe_file, runner
from pipelines.core.errors import UserError
from pipelines.core.progress import Progress
from pipelines.core.recipe import Generate, recipe_of
from pipelines.core.records import Answer, Instruction
from pipelines.core.runner import Finished
from pipelines.core.storage import Folder
from pipelines.recipes import generate
from pipelines.report.markdown import markdown
from pipelines.report.page import html
from pipelines.runs import api, reporting, serve, terminal
from serving.door import Door

if TYPE_CHECKING:
    from tests.conftest import FakeFaculty

MakeFaculty = Callable[..., "FakeFaculty"]
PROMPTS = ("List ten rivers of Asia.", "Explain how bread is baked.", "Write a poem about rain.")


@pytest.fixture
def data(tmp_path: Path, recipe_data: dict[str, Any]) -> dict[str, Any]:
    """A recipe that answers the prompts of a file; tests change their own copy."""
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"instruction": text}) + "\n" for text in [*PROMPTS, ""]))
    return {
        "name": "small", "method": "generate", "notes": ["A trial."], "teachers": recipe_data["teachers"],
        "seeds": {"tasks": str(file)}, "instructions": {"kind": "given"}, "answers": {"teacher": "main"},
    }  # fmt: skip


def run(recipe: Generate, faculty: "FakeFaculty", runs: Folder, quiet: Progress) -> Sequence[Finished]:
    stages = generate.stages(recipe, faculty)
    return runner.run(stages, runs, runs.child(runner.run_name(recipe.name, stages)), quiet)


def made_by(finished: Sequence[Finished], stage: str) -> Folder:
    return next(f.done.folder for f in finished if f.stage.name == stage)


def read(data: dict[str, Any]) -> Generate:
    recipe = recipe_of(data)
    assert isinstance(recipe, Generate)
    return recipe


def test_the_prompts_of_a_file_are_answered_as_they_are(
    data: dict[str, Any], make_faculty: MakeFaculty, runs: Folder, quiet: Progress
) -> None:
    finished = run(read(data), make_faculty(), runs, quiet)
    assert [f.stage.name for f in finished] == ["seeds", "instructions", "answers"]
    assert [a.prompt for a in parts.rows_of(made_by(finished, "answers"), Answer)] == list(PROMPTS)
    again = make_faculty()
    assert all(f.cached for f in run(read(data), again, runs, quiet))
    assert again.asked == []


def test_some_prompts_may_be_held_out_of_the_data(
    data: dict[str, Any], make_faculty: MakeFaculty, runs: Folder, quiet: Progress
) -> None:
    data["seeds"]["held_out"] = 1
    finished = run(read(data), make_faculty(), runs, quiet)
    tasks = list(parts.rows_of(made_by(finished, "instructions"), Instruction))
    assert (len(tasks), {task.split for task in tasks}) == (2, {"train"})


def test_the_report_shows_the_data_and_speaks_of_no_student(
    data: dict[str, Any], make_faculty: MakeFaculty, runs: Folder, quiet: Progress
) -> None:
    recipe = read(data)
    stages = generate.stages(recipe, make_faculty())
    folder = runs.child(runner.run_name(recipe.name, stages))
    runner.run(stages, runs, folder, quiet)
    report = reporting.of_run(recipe, folder, stages)
    assert (report.headline[0].label, report.headline[0].value) == ("rows written", "3")
    assert [(row.label, row.kept, dict(row.dropped)) for row in report.funnel] == [
        ("seeds", 3, {"no instruction": 1}), ("instructions", 3, {}), ("answers", 3, {}),
    ]  # fmt: skip
    assert sorted(row.instruction for row in report.examples) == sorted(PROMPTS)
    assert all(row.answer for row in report.examples)
    for shown in (html(report), markdown(report)):
        assert "A trial." in shown
        assert "Some rows of the data" in shown
        assert PROMPTS[0] in shown
        assert "Loss" not in shown
        assert "student" not in shown.split("<body>")[-1]
    assert "no instruction" in terminal.summary(report)


def test_a_mistake_in_a_section_with_kinds_is_told_with_its_line(data: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    for section, words in (
        ({"kind": "given", "target": 3}, "instructions.target: there is no such key; known keys here: kind, max"),
        ({"kind": "giben"}, "instructions.kind: there is no 'giben'; there is 'rounds', 'given'"),
        ({"tarjet": 3, "teacher": "main"}, "instructions.tarjet: there is no such key; did you mean 'target'?"),
        ({"target": 3}, "instructions.teacher: this key is needed and is not there"),
    ):
        file.write_text(yaml.safe_dump({**data, "instructions": section}, sort_keys=False))
        with pytest.raises(UserError) as refused:
            recipe_file.load(file)
        assert f"{file}:" in str(refused.value)
        assert words in str(refused.value)


def test_plan_knows_the_method_and_serve_has_nothing_to_serve(data: dict[str, Any], model: Path, runs: Folder) -> None:
    recipe = read(data)
    planned = api.plan(recipe, runs.uri)
    assert [row.stage.name for row in planned.stages] == ["seeds", "instructions", "answers"]
    assert "note: A trial." in planned.facts
    with pytest.raises(UserError, match="'generate', which leaves no model to serve"):
        serve.serve(serve.ToServe(recipe, [row.stage for row in planned.stages], runs.uri, Door(), print))


def test_own_answers_need_tasks_that_bring_them(data: dict[str, Any], make_faculty: MakeFaculty) -> None:
    data["answers"] = {"kind": "own"}
    assert generate.stages(read(data), make_faculty())[-1].name == "answers"
    data["instructions"] = {"teacher": "main", "target": 3}
    with pytest.raises(UserError, match="'own', but the new instructions come without answers"):
        generate.stages(read(data), make_faculty())
    for more in ({"instructions": {**data["instructions"], "prompt": "triples"}}, {"instances": {"teacher": "main"}}):
        assert generate.stages(read({**data, **more}), make_faculty())[-1].name == "answers"
