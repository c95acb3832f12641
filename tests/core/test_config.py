"""The recipe's bounds, and how its fields depend on each other."""

from copy import deepcopy
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.core.config import Probing, Train
from pipelines.core.recipe import recipe_of


def changed(data: dict[str, Any], dotted: str, value: object) -> dict[str, Any]:
    """A copy of a recipe with one setting changed."""
    copy = deepcopy(data)
    *parents, last = dotted.split(".")
    place = copy
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    return copy


@pytest.mark.parametrize(
    ("dotted", "value", "words"),
    [
        ("name", "Two words", "name"),
        ("teachers", {}, "teachers"),
        ("instructions.teacher", "nobody", "instructions.teacher names 'nobody'; the teachers are ['main']"),
        ("answers.teacher", "nobody", "answers.teacher names 'nobody'"),
        ("student.init.teacher", "nobody", "student.init.teacher names 'nobody'"),
        ("student.signals", "nobody", "student.signals names 'nobody'"),
        ("student.signals", None, "student.signals must name a teacher"),
        ("student.train.losses", {"answer": 0.0}, "at least one coefficient must be above 0"),
        ("student.train.losses", {"answer": -1.0, "kd": 1.0}, "cannot be negative"),
        ("student.train.losses", {"rationale": 1.0}, "rationale"),
        ("teachers.main.pool", {"min": 3, "max": 2}, "min (3) is above max (2)"),
        ("teachers.main.kind", "oracle", "oracle"),
        ("instructions.min_words", 200, "max_words (150)"),
        ("instructions.list_end", 9, "list_end (9) leaves no room after 8 examples"),
        ("instructions.sampling.top_p", 0, "greater than 0"),
        ("student.train.learning_rate", float("nan"), "learning_rate"),
        ("student.on_policy.train.losses", {"answer": 1.0, "kd": 1.0}, "its own words by heart, and they are no gold"),
        ("student.on_policy.train.losses", {"base_kl": 1.0}, "'kd' must be there"),
        ("student.on_policy", {"rounds": 0}, "greater than or equal to 1"),
        ("student.on_policy", {"tasks": 0}, "greater than or equal to 1"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(
    recipe_data: dict[str, Any], dotted: str, value: object, words: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        recipe_of(changed(recipe_data, dotted, value))
    assert words in str(refused.value)


HOSTED = {"kind": "http", "base_url": "https://api.example/v1/", "model": "big-1"}
VLLM = {**HOSTED, "api": "vllm", "tokenizer": "embedded:smollm2-135m-instruct"}
RECORDED = {"kind": "recorded", "files": ["said.jsonl"]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_url": "api.example/v1"}, "an address like https://HOST/v1"),
        ({"base_url": "https://me:sk-1@api.example/v1"}, "goes into an environment variable"),
        ({"base_url": "https://api.example/v1?key=sk-1"}, "goes into an environment variable"),
        ({"api_key_env": "sk-1"}, "not the key"),
        ({"api_key": "sk-1"}, "api_key"),
        ({"api": "vllm"}, "go together"),
        ({"tokenizer": "a/b"}, "go together"),
        ({"extra_body": {"n": 4, "stream": True}}, "extra_body cannot change n, stream"),
        ({"extra_body": {"top_k": float("inf")}}, "not JSON compliant"),
        ({"at_once": 0}, "at_once"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"price": {"prompt_per_million": -1, "output_per_million": 1}}, "prompt_per_million"),
    ],
)
def test_an_api_that_cannot_be_asked_is_refused(
    recipe_data: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    recipe_data = changed(recipe_data, "teachers.big", HOSTED)
    assert recipe_of(recipe_data).teachers["big"].base_url == "https://api.example/v1"
    with pytest.raises(ValidationError) as refused:
        recipe_of(changed(recipe_data, "teachers.big", {**HOSTED, **changes}))
    assert words in str(refused.value)


@pytest.mark.parametrize("teacher", [HOSTED, {**HOSTED, "api": "completions"}, RECORDED])
def test_what_needs_a_teachers_insides_names_one_that_has_them(
    recipe_data: dict[str, Any], teacher: dict[str, Any]
) -> None:
    recipe_data = changed(recipe_data, "teachers.big", teacher)
    assert recipe_of(changed(recipe_data, "answers.teacher", "big"))
    for key, words in (
        ("student.signals", "no full distributions over the student's tokens"),
        ("student.init.teacher", "whose model is not here to start from"),
    ):
        with pytest.raises(ValidationError) as refused:
            recipe_of(changed(recipe_data, key, "big"))
        assert words in str(refused.value)


def test_own_answers_are_judged_by_a_teacher_and_own_by_name(recipe_data: dict[str, Any]) -> None:
    recipe_data = changed(changed(recipe_data, "student.train", {}), "student.on_policy", {})
    assert recipe_of(recipe_data).student.on_policy.train.losses == {"kd": 1.0}
    fake = recipe_data["teachers"]["main"]
    for key, value, words in (
        ("student.signals", None, "student.on_policy.train.losses has 'kd', so student.signals must name a teacher"),
        ("teachers.student", fake, "teachers.student: with student.on_policy this is the name of the student"),
        ("student.on_policy.train", {"kd": {"source": "online"}}, "what runs beside the student"),
    ):
        with pytest.raises(ValidationError) as refused:
            recipe_of(changed(recipe_data, key, value))
        assert words in str(refused.value)


def test_given_rows_are_answered_already() -> None:
    init = {"kind": "model", "model": "embedded:smollm2-135m-instruct"}
    data = {"name": "small", "method": "tune", "data": {"sources": {"main": {}}}, "student": {"init": init}}
    assert recipe_of(data)
    with pytest.raises(ValidationError, match=r"take `method: distil` with `instructions: \{kind: given\}`"):
        recipe_of(changed(data, "student.on_policy", {}))


def test_a_vllm_server_gives_signals(recipe_data: dict[str, Any]) -> None:
    assert recipe_of(changed(changed(recipe_data, "teachers.big", VLLM), "student.signals", "big"))


@pytest.mark.parametrize("dotted", ["student.train.weight_decay", "student.train.clip", "student.train.losses.answer"])
def test_an_infinite_setting_is_refused_as_it_has_no_key(recipe_data: dict[str, Any], dotted: str) -> None:
    with pytest.raises(ValidationError):
        recipe_of(changed(recipe_data, dotted, float("inf")))


def test_a_recipe_cannot_be_changed_after_reading(recipe_data: dict[str, Any]) -> None:
    recipe = recipe_of(recipe_data)
    with pytest.raises(ValidationError):
        recipe.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"offload": True, "zero_stage": 0}, "offload needs a zero_stage"),
        ({"gradient_checkpointing": True, "losses": {"attention": 1.0}}, "computes attention twice"),
        ({"lora": {}, "frozen_layers": 1}, "drop freeze_embeddings and frozen_layers"),
        ({"validation": {}, "warm": True}, "validation keeps the best one"),
        ({"lora": {"rank": 0}}, "greater than or equal to 1"),
        ({"validation": {"share": 1.0}}, "less than 1"),
        ({"track": ["tensorboard"]}, "Input should be 'mlflow' or 'wandb'"),
    ],
)
def test_training_settings_that_do_not_go_together_are_refused(train: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Train.model_validate(train)


def test_a_sample_of_whole_matrices_is_refused_where_no_process_has_them() -> None:
    with pytest.raises(ValidationError, match="'sampled' reads rows of whole matrices"):
        Probing(method="sampled", shards=2)
    assert Probing(method="sampled").shards == 1
