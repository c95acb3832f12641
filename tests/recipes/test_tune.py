"""The method `tune`: which stages it has, and what is refused before anything starts."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.core import recipe_file
from pipelines.core.config import FakeTeacher, GivenStudent, VLLMTeacher
from pipelines.core.errors import UserError
from pipelines.core.recipe import Tune, recipe_of
from pipelines.core.storage import Folder
from pipelines.recipes import tune
from pipelines.runs import api, preflight
from serving.faculty import ClusterFaculty


@pytest.fixture
def data(model: Path) -> dict[str, Any]:
    teacher = {"kind": "fake", "model": str(model)}
    return {
        "name": "small",
        "method": "tune",
        "teachers": {"expert": teacher, "reference": teacher},
        "data": {"sources": {"main": {}}, "held_out": 8},
        "student": {"init": {"kind": "model", "model": str(model)}},
    }


def stages(data: dict[str, Any]) -> list[Any]:
    recipe = recipe_of(data)
    assert isinstance(recipe, Tune)
    return tune.stages(recipe, ClusterFaculty(recipe))


def keys(data: dict[str, Any]) -> dict[str, str]:
    return {stage.name: stage.key for stage in stages(data)}


def test_without_signals_nobody_is_asked(data: dict[str, Any]) -> None:
    del data["teachers"]
    assert list(keys(data)) == ["examples", "held_out_examples", "student_init", "student", "held_out_loss"]


def test_each_teacher_scores_its_sources_only(data: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "shop.jsonl").write_text(
        "\n".join(f'{{"instruction": "Sell {n}", "output": "sold"}}' for n in range(20))
    )
    data["data"]["sources"] = {"shop": {"path": str(tmp_path / "shop.jsonl")}, "main": {}}
    data["student"] |= {"signals": {"shop": "expert", "main": "reference"}, "train": {"losses": {"kd": 1.0}}}
    made = {stage.name: stage for stage in stages(data)}
    assert made["soft_targets_expert"].config["sources"] == ["shop"]
    assert made["soft_targets_reference"].config["sources"] == ["main"]
    assert {"soft_targets_expert", "soft_targets_reference"} <= made["student"].inputs.keys()


def test_a_teacher_that_needs_several_gpus_is_not_measured() -> None:
    one = {"kind": "vllm", "model": "m"}
    two = VLLMTeacher.model_validate({**one, "engine": {"tensor_parallel_size": 2}})
    assert tune.measurable(VLLMTeacher.model_validate(one))
    assert not tune.measurable(two)


@pytest.mark.parametrize("name", ["sft", "im", "kd", "dae"])
def test_a_shipped_recipe_needs_nothing_but_what_ships(name: str, model: Path, runs: Folder) -> None:
    recipe = recipe_file.load(name)
    assert isinstance(recipe, Tune)
    fakes = {teacher: FakeTeacher(kind="fake", model=str(model)) for teacher in recipe.teachers}
    student = recipe.student
    if isinstance(student.init, GivenStudent):
        student = student.model_copy(update={"init": GivenStudent(kind="model", model=str(model))})
    else:
        student = student.model_copy(update={"init": student.init.model_copy(update={"layers": 3})})
    planned = api.plan(recipe.model_copy(update={"teachers": fakes, "student": student}), runs.uri)
    assert [row.stage.name for row in planned.stages][:2] == ["examples", "held_out_examples"]
    assert any("examples and" in fact for fact in planned.facts)


def test_a_method_changes_the_examples_and_not_what_is_measured(data: dict[str, Any]) -> None:
    before = keys(data)
    data["student"]["learn"] = {"method": "im"}
    after = keys(data)
    assert before["examples"] != after["examples"]
    assert before["held_out_examples"] == after["held_out_examples"]


@pytest.mark.parametrize(
    ("student", "words"),
    [
        ({"signals": {"shop": "expert"}}, r"student\.signals names \['shop'\]; data\.sources has \['main'\]"),
        ({"signals": "nobody"}, "student.signals names 'nobody'"),
        ({"train": {"losses": {"kd": 1.0}}}, "so student.signals must name a teacher"),
    ],
)
def test_what_does_not_meet_is_refused(data: dict[str, Any], student: dict[str, Any], words: str) -> None:
    data["student"] |= student
    with pytest.raises(ValidationError, match=words):
        recipe_of(data)


def test_a_template_that_closes_no_answer_is_refused(data: dict[str, Any], model: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(model, tmp_path / "mine")
    data["student"]["init"]["model"] = str(mine)
    recipe = recipe_of(data)
    preflight.reach(recipe, ClusterFaculty(recipe))
    (mine / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }} {% endfor %}")
    with pytest.raises(UserError, match="ends an answer with no special token"):
        preflight.reach(recipe, ClusterFaculty(recipe))
    data["student"]["learn"] = {"template": "tulu"}
    plain = recipe_of(data)
    preflight.reach(plain, ClusterFaculty(plain))
