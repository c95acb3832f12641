"""What recipes ask of profiles, and which of them could wait for ever."""

from typing import Any

import pytest

from cluster import demands, profile
from cluster.profile import Profile
from pipelines.core import recipe_file
from pipelines.core.config import Engine
from pipelines.core.errors import UserError

RECIPES = sorted(str(f.relative_to(recipe_file.SHIPPED).with_suffix("")) for f in recipe_file.SHIPPED.rglob("*.yaml"))


def pools(**nodes: dict[str, Any]) -> Profile:
    """Teachers and judges on one pool, students on another; both of eight GPUs without a word."""
    made = {name: {"cpus": 64, "gpus": 8, **nodes.get(name, {})} for name in ("teachers", "students")}
    roles = {"teacher": "teachers", "judge": "teachers", "student": "students", "probe": "students", "cpu": "students"}
    return Profile.model_validate({"pools": made, "roles": roles})


@pytest.mark.parametrize("recipe", [r for r in RECIPES if not r.startswith("paper/")])
@pytest.mark.parametrize("name", profile.shipped())
def test_every_profile_can_hold_every_small_recipe(recipe: str, name: str) -> None:
    demands.check(recipe_file.load(recipe), profile.load(name))


@pytest.mark.parametrize("recipe", RECIPES)
def test_several_pools_hold_published_sizes_too(recipe: str) -> None:
    demands.check(recipe_file.load(recipe), profile.load("pools"))


def test_each_role_is_told_its_pool_and_what_is_asked_of_it() -> None:
    teacher, student, *at_one_time = demands.in_words(recipe_file.load("paper/llama-70b-to-1b"), profile.load("pools"))
    assert teacher == (
        "teacher, on pool 'teachers' (0 to 4 nodes (spot) of 88 CPU, 8 A100): "
        "teachers.main.engine 1 × 4 GPU, teachers.main.pool 1 to 2 × 4 GPU"
    )
    assert "student.train.workers 1 × 8 GPU" in student
    assert at_one_time == [
        "pool 'teachers': 8 to 12 GPU at one time, of 32",
        "pool 'students': 8 GPU at one time, of 8",
    ]


@pytest.mark.parametrize(
    ("recipe", "setting", "words"),
    [
        (
            "quickstart",
            "teachers.main.engine.tensor_parallel_size=16",
            r"teachers\.main\.engine asks for 1 × 16 GPU at once, as the role 'teacher' on .* pool 'teachers'",
        ),
        ("quickstart", "teachers.main.pool={min: 9, max: 9}", r"teachers\.main\.pool asks for 9 × 1 GPU"),
        ("quickstart", "student.train.workers=9", r"student\.train\.workers asks for 1 × 9 GPU .* 'student'"),
        ("montessori", "rounds.probe.pool={min: 9, max: 9}", r"rounds\.probe\.pool asks for 9 × 1 GPU .* 'probe'"),
        ("on-policy", "student.on_policy.pool={min: 9, max: 9}", r"student\.on_policy\.pool asks for 9 × 1 GPU"),
        ("kd", "student.train.workers=12", r"which has 0 or 1 node of 64 CPU, 8 GPU at most: this would wait for ever"),
    ],
)
def test_what_could_never_be_had_is_an_error_with_its_key(recipe: str, setting: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        demands.in_words(recipe_file.load(recipe, [setting]), pools())


def test_an_engine_that_has_to_lie_on_one_node_may_not_need_two() -> None:
    recipe = recipe_file.load("quickstart", ["teachers.main.engine.tensor_parallel_size=16"])
    wide = pools(teachers={"max": 2})
    demands.check(recipe, wide)
    strict = {**wide.model_dump(mode="json")}
    strict["roles"]["teacher"]["placement"] = "STRICT_PACK"
    with pytest.raises(UserError, match=r"1 × 16 GPU on one node at once"):
        demands.check(recipe, Profile.model_validate(strict))


def test_engines_take_turns_where_there_is_no_room_for_all() -> None:
    recipe = recipe_file.load("quickstart")
    assert not demands.take_turns(recipe, pools())
    assert demands.take_turns(recipe, profile.load("one-gpu"))
    assert "make way for each other" in demands.in_words(recipe, profile.load("one-gpu"))[-1]
    assert not demands.take_turns(recipe, profile.load("laptop"))
    # The teacher's engine stays while its pool scores, on two GPUs of its own.
    assert demands.take_turns(recipe, pools(teachers={"gpus": 1}))


def test_without_gpus_an_engine_is_one_process_however_many_it_would_have() -> None:
    recipe = recipe_file.load("quickstart", ["teachers.main.engine.tensor_parallel_size=64"])
    demands.check(recipe, profile.load("laptop"))


def test_a_judge_that_only_judges_has_a_role_of_its_own() -> None:
    teachers = "{a: {kind: vllm, model: /a}, b: {kind: vllm, model: /b}, j: {kind: vllm, model: /j}}"
    sets = [f"teachers={teachers}", "answers.models=[a, b]", "judge={teacher: j, baseline: a}"]
    recipe = recipe_file.load("compare", sets)
    assert [demands.role_of(recipe, name) for name in "abj"] == ["teacher", "teacher", "judge"]
    assert {d.role for d in demands.of(recipe) if d.key.startswith("teachers.j.")} == {"judge"}


def test_models_that_are_served_together_need_room_together() -> None:
    models = [("teacher", "teacher", Engine(tensor_parallel_size=8), 1), ("student", "student", Engine(), 1)]
    demands.check_served(models, pools())  # type: ignore[arg-type]
    twice = [*models, ("other", "teacher", Engine(), 1)]
    with pytest.raises(UserError, match=r"no room for all models at once .*--model NAME"):
        demands.check_served(twice, pools())  # type: ignore[arg-type]
    asleep = [*models, ("other", "teacher", Engine(), 0)]
    demands.check_served(asleep, pools())  # type: ignore[arg-type]
