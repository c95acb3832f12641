"""What is reached before a run: a model without a chat template can go on with documents, and cannot take turns."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.core import recipe_file
from pipelines.core.errors import UserError
from pipelines.runs import preflight
from serving.faculty import ClusterFaculty


@pytest.fixture
def reach(model: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """What can be reached of a shipped recipe whose teacher is a base model."""
    base = tmp_path / "base"
    shutil.copytree(model, base)
    (base / "chat_template.jinja").unlink()

    def of(name: str, *sets: str) -> list[str]:
        recipe = recipe_file.load(name, [f"teachers.main={{kind: fake, model: {base}}}", *sets])
        return preflight.reach(recipe, ClusterFaculty(recipe))

    return of


def test_a_students_own_answers_must_fit_its_window() -> None:
    recipe = recipe_file.load("on-policy", ["student.on_policy.sampling.max_tokens=1024"])
    with pytest.raises(UserError, match=r"student\.on_policy\.sampling\.max_tokens .* student\.engine\.max_model_len"):
        preflight.local_facts(recipe, ClusterFaculty(recipe))


@pytest.mark.parametrize("name", ["self-instruct", "alpaca"])
def test_a_base_model_can_be_asked_in_documents(reach: Callable[..., list[str]], name: str) -> None:
    (fact,) = reach(name)
    assert fact.startswith("teacher main: ")


@pytest.mark.parametrize(
    ("name", "sets"),
    [
        ("alpaca", ["instructions.prompt=triples-chat"]),
        ("alpaca", ["answers={kind: chat, teacher: main}"]),
        ("evol", ["answers={kind: chat, teacher: main}"]),
        ("quickstart", []),
    ],
)
def test_a_base_model_cannot_be_asked_in_turns(reach: Callable[..., list[str]], name: str, sets: list[str]) -> None:
    with pytest.raises(UserError, match="has no chat template"):
        reach(name, *sets)
