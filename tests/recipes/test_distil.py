"""The method distil over other ways of writing data: the same stages, and a student behind them."""

from pathlib import Path
from typing import Any

from pipelines.core.recipe import Distil, recipe_of
from pipelines.core.stage import Stage
from pipelines.recipes import distil
from serving.faculty import ClusterFaculty

TAIL = ["references", "examples", "soft_targets", "student_init", "student", "evaluate"]


def stages(data: dict[str, Any], **changes: Any) -> list[Stage]:
    recipe = recipe_of({**data, **changes})
    assert isinstance(recipe, Distil)
    return distil.stages(recipe, ClusterFaculty(recipe))


def names(made: list[Stage]) -> list[str]:
    return [stage.name for stage in made]


def test_a_student_can_learn_from_tasks_that_bring_their_answers(recipe_data: dict[str, Any], model: Path) -> None:
    whole = {**recipe_data["instructions"], "prompt": "triples"}
    made = stages(recipe_data, instructions=whole, answers={"kind": "own"})
    assert names(made) == ["seeds", "instructions", "held_out", "answers", *TAIL]
    passes = stages(recipe_data, instances={"teacher": "main"}, answers={"kind": "own"})
    assert names(passes) == ["seeds", "instructions", "task_types", "instances", "held_out", "answers", *TAIL]
    by_name = {stage.name: stage for stage in passes}
    assert by_name["answers"].inputs["source"] == by_name["held_out"].inputs["pool"] == by_name["instances"]


def test_references_are_asked_for_as_answers_are_whoever_wrote_these(recipe_data: dict[str, Any], model: Path) -> None:
    asked = {"teacher": "main", "samples": 3, "sampling": {"max_tokens": 7}, "cut_off": "drop"}
    (like_answers,) = (s for s in stages(recipe_data, answers=asked) if s.name == "references")
    assert (like_answers.config["samples"], like_answers.config["cut_off"]) == (1, "drop")
    assert like_answers.config["sampling"]["max_tokens"] == 7
    own = {"instructions": {"kind": "given"}, "answers": {"kind": "own"}}
    evaluate = {"teacher": "main", "sampling": {"max_tokens": 9}}
    (by_itself,) = (s for s in stages(recipe_data, **own, evaluate=evaluate) if s.name == "references")
    assert by_itself.config["sampling"]["max_tokens"] == 9


def test_trained_reasoning_changes_what_is_trained_on_and_kept_reasoning_does_not(
    recipe_data: dict[str, Any], model: Path
) -> None:
    def examples(keep: str | None) -> Stage:
        answers = {"teacher": "main", **({"reasoning": {"keep": keep}} if keep else {})}
        return next(s for s in stages(recipe_data, answers=answers) if s.name == "examples")

    plain, kept, trained = (dict(examples(keep).config) for keep in (None, "keep", "train"))
    assert plain == kept
    assert trained["reasoning"] == {"open": "<think>", "close": "</think>", "opened": False, "keep": "train"}


def test_before_is_the_student_as_it_was_pruned(recipe_data: dict[str, Any], model: Path) -> None:
    """Refitting heals, as training does: both together are what came after."""
    made = {stage.name: stage for stage in stages(recipe_data, student=recipe_data["student"] | {"refit": {}})}
    assert made["evaluate"].inputs["init"] == made["student_init"]
    assert made["student"].inputs["init"] == made["refit"]
