"""A round of own answers on the real stack: a tiny student is served by vLLM, trained by Ray Train, and let go of.

The teacher is a fake, so what is learnt means nothing; evaluation is left out, as another test has it.
"""

from pathlib import Path
from typing import Any

import pytest

from pipelines.core import runner
from pipelines.core.chat import ChatTokenizer
from pipelines.core.parts import rows_of
from pipelines.core.progress import Progress
from pipelines.core.recipe import Distil, recipe_of
from pipelines.core.records import Answer, TrainExample
from pipelines.core.runner import Finished
from pipelines.core.storage import Folder
from pipelines.recipes import distil
from serving.faculty import ClusterFaculty

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def recipe(tiny_served: Path) -> Distil:
    train = {"precision": "fp32", "zero_stage": 0, "learning_rate": 0.01, "max_length": 512}
    read = recipe_of({
        "name": "on-policy",
        "method": "distil",
        "teachers": {"main": {"kind": "fake", "model": str(tiny_served)}},
        "seeds": {"held_out": 6},
        "instructions": {"kind": "given"},
        "answers": {"kind": "own"},
        "student": {
            "init": {"kind": "model", "model": str(tiny_served)},
            "signals": "main",
            "engine": {"max_model_len": 512, "enforce_eager": True},
            "train": {**train, "examples_per_step": 64},
            "on_policy": {
                "tasks": 8, "sampling": {"temperature": 1.0, "max_tokens": 24},
                "train": {**train, "examples_per_step": 4, "top_k": 4},
            },
        },
        "evaluate": {"teacher": "main"},
    })  # fmt: skip
    assert isinstance(read, Distil)
    return read


@pytest.fixture(scope="module")
def ran(recipe: Distil, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Finished], list[Any], bool]:
    """(the finished stages, the endpoints left up by them, whether a second run has nothing to do)."""
    from ray import serve

    runs = Folder(str(tmp_path_factory.mktemp("runs")))
    faculty = ClusterFaculty(recipe)
    faculty.hold_port(None)
    stages = [stage for stage in distil.stages(recipe, faculty) if stage.name != "evaluate"]
    try:
        finished = runner.run(stages, runs, runs.child("run-test"), Progress())
        left = list(serve.status().applications)
    finally:
        faculty.close()
    again = all(planned.state == "done" for planned in runner.plan(stages, runs))
    return {f.stage.name: f for f in finished}, left, again


def test_the_student_answered_in_its_own_tokens(ran: Any, tiny_served: Path) -> None:
    stages, left, again = ran
    answers = list(rows_of(stages["own_answers_1"].done.folder, Answer))
    manifest = stages["own_answers_1"].done.manifest
    assert len(answers) + sum(manifest["dropped"].values()) == 8
    assert 0 < manifest["output_tokens"] <= 8 * 24
    examples = {e.answer_id: e for e in rows_of(stages["examples_1"].done.folder, TrainExample)}
    end = ChatTokenizer(str(tiny_served)).eos_id
    for answer in answers:  # the end is among its tokens where it was said, and is not made up where it was not
        assert (examples[answer.id].token_ids[-1] == end) == (answer.finish_reason == "stop")
    assert left == []
    assert again


def test_the_round_trained_on_from_the_student_before(ran: Any) -> None:
    stages = ran[0]
    before, after = (stages[name].done for name in ("student_0", "student"))
    assert after.manifest["inputs"]["init"]["digest"] == before.manifest["digest"] != after.manifest["digest"]
    assert [set(point["losses"]) for point in after.manifest["facts"]["loss_curve"]] == [{"kd"}, {"kd"}]
    assert set(before.manifest["facts"]["loss_curve"][0]["losses"]) == {"answer"}
