"""The method `tinyllm`: which stages it has, what changes their keys, and what is refused before anything starts."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.core import recipe_file
from pipelines.core.config import FakeTeacher, GivenStudent
from pipelines.core.recipe import TinyLLM, recipe_of
from pipelines.core.storage import Folder
from pipelines.recipes import tinyllm
from pipelines.runs import api
from serving.faculty import ClusterFaculty


@pytest.fixture
def data(model: Path, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "said.jsonl").write_text(json.dumps({"id": "everyday_001", "rationale": "Wind carries damp away."}))
    return {
        "name": "small",
        "method": "tinyllm",
        "teachers": {"main": {"kind": "fake", "model": str(model)}},
        "rationales": {
            "sources": {
                "main": {"kind": "asked", "teacher": "main"},
                "file": {"kind": "file", "path": str(tmp_path / "said.jsonl"), "prefix": "rationale: "},
            }
        },
        "student": {"init": {"kind": "model", "model": str(model)}, "train": {"normalise": "per_example"}},
    }


def keys(data: dict[str, Any]) -> dict[str, str]:
    recipe = recipe_of(data)
    assert isinstance(recipe, TinyLLM)
    return {stage.name: stage.key for stage in tinyllm.stages(recipe, ClusterFaculty(recipe))}


def test_stages_follow_the_sources(data: dict[str, Any]) -> None:
    end = ["examples", "student_init", "accuracy_before", "student", "accuracy"]
    given, asked = ["questions", "rationales_file"], ["rationale_tasks", "rationales_main", "rationales"]
    assert list(keys(data)) == [*given, *asked, *end]
    data["rationales"]["sources"]["main"]["weight"] = 0  # as if it were not there
    assert list(keys(data)) == [*given, "rationales", *end]
    data["rationales"]["sources"] = {}
    del data["teachers"]
    assert list(keys(data)) == ["questions", *end]


def test_the_order_of_sources_is_in_no_key(data: dict[str, Any]) -> None:
    before = keys(data)
    data["rationales"]["sources"] = dict(reversed(data["rationales"]["sources"].items()))
    assert keys(data) == before


def test_a_weight_changes_training_alone_and_a_filter_nothing_that_was_asked(data: dict[str, Any]) -> None:
    before = keys(data)
    data["rationales"]["sources"]["main"]["weight"] = 0.5
    heavier = keys(data)
    assert {name for name in before if before[name] != heavier[name]} == {"student", "accuracy"}
    data["rationales"]["filters"] = ["cut off"]
    assert {name for name in before if keys(data)[name] != heavier[name]} == {
        "rationales", "examples", "student", "accuracy",
    }  # fmt: skip


def test_worked_examples_come_from_a_source_even_if_nobody_learns_it(data: dict[str, Any]) -> None:
    data["rationales"]["in_context"] = {"worked": "file"}
    data["rationales"]["sources"]["file"]["weight"] = 0
    recipe = recipe_of(data)
    assert isinstance(recipe, TinyLLM)
    stages = {stage.name: stage for stage in tinyllm.stages(recipe, ClusterFaculty(recipe))}
    assert stages["rationale_tasks"].inputs["worked"].name == "rationales_file"
    assert "rationales_file" not in stages["rationales"].inputs


@pytest.mark.parametrize("name", ["tinyllm", "paper/tinyllm-flan-t5"])
def test_a_shipped_recipe_plans_with_nothing_but_what_ships(name: str, model: Path, runs: Folder) -> None:
    recipe = recipe_file.load(name)
    assert isinstance(recipe, TinyLLM)
    fakes = {teacher: FakeTeacher(kind="fake", model=str(model)) for teacher in recipe.teachers}
    student = recipe.student.model_copy(update={"init": GivenStudent(kind="model", model=str(model))})
    planned = api.plan(recipe.model_copy(update={"teachers": fakes, "student": student}), runs.uri)
    assert planned.stages[0].stage.name == "questions"
    assert "training: up to 240 examples and" in " ".join(planned.facts)  # 80 questions, with two rationales each


@pytest.mark.parametrize(
    ("section", "change", "words"),
    [
        ("student", {"train": {"normalise": "global_token"}}, "write `per_example`"),
        (
            "student",
            {"train": {"normalise": "per_example", "losses": {"answer": 2.0}}},
            "`rationales` weighs the losses",
        ),
        ("student", {"learn": {"method": "im"}}, "answers and rationales only"),
        ("student", {"signals": "main"}, "here teachers give words"),
        ("evaluate", {"max_tokens": 4096}, "leaves no room for a question"),
        ("rationales", {"sources": {"main": {"teacher": "nobody"}}}, "sources.main.teacher names 'nobody'"),
        ("rationales", {"sources": {"main": {"teacher": "main", "prefix": "predict: "}}}, "must differ"),
        ("rationales", {"in_context": {"worked": "main"}}, "no source of kind released or file"),
        ("rationales", {"select": {"by": "likelihood"}}, "say whose likelihood"),
        ("rationales", {"select": {"by": "likelihood", "teacher": "main"}}, "name a teacher of kind vllm"),
    ],
)
def test_what_does_not_meet_is_refused(data: dict[str, Any], section: str, change: dict[str, Any], words: str) -> None:
    data[section] = data.get(section, {}) | change
    with pytest.raises(ValidationError, match=words):
        recipe_of(data)
