"""What is told before a run starts, worked by hand; and the published recipes, planned without a model or a hub."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from pipelines.core import recipe_file
from pipelines.core.recipe import DataRecipe, Distil, StudentRecipe, Tune, recipe_of
from pipelines.core.storage import Folder
from pipelines.runs import api, estimates
from pipelines.runs.sizes import size

PAPER = sorted(
    str(p.relative_to(recipe_file.SHIPPED).with_suffix("")) for p in recipe_file.SHIPPED.glob("paper/*.yaml")
)


def recipe(data: dict[str, Any], **changes: Any) -> DataRecipe:
    return recipe_of(deepcopy(data) | changes)


def rows(made: DataRecipe, seeds: int = 108) -> dict[str, tuple[int, int]]:
    return {share.step: (share.rows, share.tokens) for share in estimates.shares(made, seeds)}


def test_rounds_and_chat_answers(recipe_data: dict[str, Any]) -> None:
    made = recipe(recipe_data, answers={"teacher": "main", "samples": 2, "sampling": {"max_tokens": 10}})
    # 12 new instructions, 8 to a reply of 400 tokens; 100 seeds are left of 108, and each task is answered twice.
    assert rows(made) == {"instructions": (12, 800), "answers": (224, 2240), "references": (8, 80)}
    assert isinstance(made, Distil)
    assert estimates.examples(made, 108) == (224, 224 * 1024)


def test_instances_and_their_own_answers(recipe_data: dict[str, Any]) -> None:
    made = recipe(recipe_data, instances={"teacher": "main"}, answers={"kind": "own"})
    assert rows(made) == {"instructions": (12, 800), "instances": (60, 12 * 353), "references": (8, 8 * 128)}
    assert isinstance(made, Distil)
    assert estimates.examples(made, 108)[0] == 160


def test_rewriting_and_given_tasks(recipe_data: dict[str, Any]) -> None:
    section = {"kind": "evolved", "teacher": "main", "generations": 3, "sampling": {"max_tokens": 7}}
    assert rows(recipe(recipe_data, instructions=section))["instructions"] == (300, 2100)
    assert rows(recipe(recipe_data, instructions=section))["answers"][0] == 400
    assert rows(recipe(recipe_data, instructions={"kind": "given"}))["answers"][0] == 100


def test_own_answers_are_as_many_as_there_are_tasks(recipe_data: dict[str, Any]) -> None:
    section = {"rounds": 3, "tasks": 50, "sampling": {"max_tokens": 10}, "train": {"epochs": 2}}
    given = {"instructions": {"kind": "given"}, "student": recipe_data["student"] | {"on_policy": section}}
    made = recipe(recipe_data, **given)
    assert estimates.own_answers(made, 108) == (150, 1500)
    assert estimates.own_answers(made, 28) == (60, 600)  # 20 seeds are left, and each is answered in every round
    assert estimates.own_answers(recipe(recipe_data), 108) == (0, 0)
    words = "own answers: up to 150 and 1,500 tokens by the student in 3 round(s), trained on in 2 epoch(s)"
    assert words in estimates.in_words(made, 108)


def test_gpu_hours_are_told_where_all_sizes_are_known(recipe_data: dict[str, Any]) -> None:
    made = recipe(recipe_data, student=recipe_data["student"] | {"signals": None, "train": {"losses": {"answer": 1}}})
    big = 10**15
    wrote = 2 * big * sum(tokens for _, tokens in rows(made).values()) / 100e12
    trained = 6 * big * estimates.examples(made, 108)[1] / 350e12
    assert f"about {(wrote + trained) / 3600:,.0f}, if" in estimates.gpu_hours(made, 108, {"main": big}, big)
    assert estimates.gpu_hours(made, 108, {"main": 0}, big) == estimates.gpu_hours(made, 108, {"main": big}, 0) == ""
    assert estimates.gpu_hours(made, 108, {"main": 10**6}, 10**6) == ""


@pytest.mark.parametrize("name", PAPER)
def test_a_published_recipe_is_planned_offline(name: str, runs: Folder, tmp_path: Path) -> None:
    """Multiple choice with as many questions as the papers' sets have; the built-in ones are a matter of minutes."""
    asked = [{"question": f"Which is {n}?", "choices": ["a", "b"], "answer": 0} for n in range(5000)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, asked)))
    sets = [f"data.path={tmp_path / 'questions.jsonl'}"] if "tinyllm" in name else []
    made = recipe_file.load(name, sets)
    told = "\n".join(api.plan(made, runs.uri).facts)
    for words in (
        "not unpacked or downloaded yet",
        "B parameters by its name",
        "examples and" if isinstance(made, Tune) else "rows and",
        "GPU-hours: about",
        "note: ",
    ):
        assert words in told, words
    assert all(f"note: {note}" in told for note in made.notes)
    if isinstance(made, StudentRecipe):
        assert "memory: student " in told


def test_a_size_is_read_from_a_name_and_not_guessed() -> None:
    from cluster.models import Model

    named = {
        "a/Llama-3.1-70B@c": 70e9, "a/Qwen2.5-0.5B-Instruct@c": 0.5e9, "embedded:no-135m-x": 135e6,
        "a/Mix-8x7B@c": 56e9, "a/gpt2@c": 0, "google/flan-t5-large@c": 783e6,
        "TinyLlama/TinyLlama_v1.1@c": 1.1e9,
    }  # fmt: skip
    for ref, parameters in named.items():
        assert size(Model(ref, "digest-of-nothing-here")) == parameters, ref
