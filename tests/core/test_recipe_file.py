"""Recipes as files: what is wrong is said with file, line and key; every shipped one can be read."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.core import recipe_file
from pipelines.core.errors import UserError

SHIPPED = sorted(recipe_file.SHIPPED.rglob("*.yaml"))

# The line numbers below are those of this text: `name` is line 1.
RECIPE = """\
name: small
method: distil
teachers:
  main: {kind: fake, model: somewhere}
instructions:
  teacher: main
  target: 12
answers:
  teacher: main
student:
  init:
    kind: pruned
    teacher: main
    layers: 1
  train:
    epochs: 1
evaluate: {teacher: main}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(RECIPE, encoding="utf-8")
    return file


def rewritten(file: Path, old: str, new: str) -> Path:
    """The file with one piece of its text replaced."""
    assert RECIPE.count(old) == 1
    file.write_text(RECIPE.replace(old, new), encoding="utf-8")
    return file


def complaint(file: str | Path, *overrides: str) -> str:
    with pytest.raises(UserError) as refused:
        recipe_file.load(file, overrides)
    return str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("  target: 12", "  tarjet: 12", 7, "instructions.tarjet: there is no such key; did you mean 'target'?"),
        ("    epochs: 1", "    epoch: 1", 16, "student.train.epoch: there is no such key; did you mean 'epochs'?"),
        ("    layers: 1", "    layers: 1\n    layer_rows: 2", 15, "student.init.layer_rows: there is no such key"),
        ("model: somewhere", "modell: here", 4, "teachers.main.modell: there is no such key; did you mean 'model'?"),
        ("  target: 12", "  target: 0", 7, "instructions.target: Input should be greater than or equal to 1 (it is 0)"),
        ("    epochs: 1", "    betas: [0.9, x]", 16, "student.train.betas"),
        ("    epochs: 1", "    losses: {answr: 1}", 16, "student.train.losses.answr: Input should be 'answer', 'kd',"),
        ("  target: 12\n", "", 5, "instructions.target: this key is needed and is not there"),
        (
            "method: distil",
            "method: distill",
            2,
            "method: there is no 'distill'; there is 'compare', 'distil', 'generate'",
        ),
        ("method: distil\n", "", None, "method: this key is needed and is not there"),
        ("method: distil", "method: generate", 10, "student: there is no such key; known keys here: answers"),
        ("evaluate: {", "evaluat: {", 17, "evaluat: there is no such key; did you mean 'evaluate'?"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_key(file: Path, old: str, new: str, line: int | None, words: str) -> None:
    where = f"{file}:{line}" if line else str(file)
    assert f"{where}: {words}" in complaint(rewritten(file, old, new))


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    told = complaint(file, "instructions.target=0", "student.train.warmup=2", "sed=1").splitlines()
    assert len(told) == 3
    assert any("student.train.warmup" in line and "(it is 2)" in line for line in told)


def test_a_teacher_may_have_the_name_of_a_kind(file: Path) -> None:
    file.write_text(RECIPE.replace("main: {", "fake: {latency: 1, ").replace("teacher: main", "teacher: fake"))
    assert f"{file}:4: teachers.fake.latency: there is no such key; did you mean 'latency_s'?" in complaint(file)


def test_a_key_of_another_kind_is_told_as_such(file: Path) -> None:
    told = complaint(rewritten(file, "    kind: pruned\n    teacher: main", "    kind: model\n    model: mine"))
    assert f"{file}:14: student.init.layers: there is no such key" in told
    assert "did you mean 'layers'" not in told


def test_a_key_in_the_wrong_place_is_not_repeated(recipe_data: dict[str, Any], tmp_path: Path) -> None:
    hosted = {"kind": "http", "base_url": "https://me:sk-secret@host/v1", "model": "big-1", "api_key_env": "sk-secret"}
    recipe_data = {**recipe_data, "teachers": {**recipe_data["teachers"], "big": hosted}}
    (tmp_path / "keys.yaml").write_text(yaml.safe_dump(recipe_data), encoding="utf-8")
    with pytest.raises(UserError) as told:
        recipe_file.load(tmp_path / "keys.yaml")
    assert "teachers.big.api_key_env: write the name of an environment variable" in str(told.value)
    assert "teachers.big.base_url" in str(told.value)
    assert "secret" not in str(told.value)


def test_names_that_do_not_meet_are_told(file: Path) -> None:
    assert "answers.teacher names 'none'; the teachers are ['main']" in complaint(file, "answers.teacher=none")


def test_set_changes_one_setting_and_makes_what_is_above_it(file: Path) -> None:
    changes = ["instructions.target=99", "answers.sampling.stop=['\\n', END]", "student.train.learning_rate=1e-4"]
    recipe = recipe_file.load(file, [*changes, "seeds.tasks=a=b.jsonl"])
    assert recipe.instructions.target == 99
    assert recipe.answers.sampling.stop == ("\\n", "END")
    assert recipe.student.train.learning_rate == pytest.approx(1e-4)
    assert recipe.seeds.tasks == "a=b.jsonl"
    plain = recipe_file.load(file)
    assert recipe.evaluate == plain.evaluate
    assert plain.instructions.target == 12


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed", "write key=value"),
        ("=3", "write key=value"),
        ("name.first=x", "'name' holds a value"),
        ("seed={", "not valid YAML"),
        ("instructions.tarjet=3", "instructions.tarjet: there is no such key; did you mean 'target'?"),
    ],
)
def test_a_wrong_set_is_told(file: Path, override: str, words: str) -> None:
    assert words in complaint(file, override)


def test_a_set_value_that_is_wrong_is_told_as_such(file: Path) -> None:
    told = complaint(file, "instructions.target=5", "instructions.target=0", "student.init={kind: pruned}")
    assert "--set instructions.target=0: instructions.target: Input should be" in told
    assert "--set student.init={kind: pruned}: student.init.teacher: this key is needed" in told
    assert str(file) not in told


def test_a_key_that_is_there_twice_is_refused(file: Path) -> None:
    told = complaint(rewritten(file, "    epochs: 1", "    epochs: 1\n    epochs: 2"))
    assert told == f"{file}:17: epochs: this key is there twice; the first is in line 16"


@pytest.mark.parametrize(
    ("text", "words"), [("", "a mapping"), ("- name", "a mapping"), ("name: [", "not valid YAML"), ("\0", "not valid")]
)
def test_a_file_that_holds_no_recipe_is_told(file: Path, text: str, words: str) -> None:
    file.write_text(text, encoding="utf-8")
    told = complaint(file)
    assert words in told
    assert str(file) in told


def test_an_unknown_recipe_lists_the_shipped() -> None:
    told = complaint("no-such-recipe")
    assert "'no-such-recipe'" in told
    assert "quickstart" in told


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_can_be_read_and_written_again(shipped: Path, tmp_path: Path) -> None:
    recipe = recipe_file.load(shipped)
    again = tmp_path / "again.yaml"
    again.write_text(recipe_file.dump(recipe), encoding="utf-8")
    assert recipe_file.load(again) == recipe


def test_the_quickstart_is_found_by_its_name() -> None:
    assert recipe_file.load("quickstart").name == "quickstart"


def test_a_resolved_recipe_names_every_default(recipe_data: dict[str, Any], file: Path) -> None:
    file.write_text(yaml.safe_dump(recipe_data), encoding="utf-8")
    written = yaml.safe_load(recipe_file.dump(recipe_file.load(file)))
    assert written["seed"] == 17
    assert written["answers"]["cut_off"] == "keep"
    assert written["student"]["train"]["betas"] == [0.9, 0.95]
