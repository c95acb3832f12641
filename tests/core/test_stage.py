"""A stage's key: what it is made from and nothing else."""

from collections.abc import Mapping
from typing import Any

import pytest

from pipelines.core.stage import Outcome, Stage, StageRun


def nothing(_: StageRun) -> Outcome:
    return Outcome(0, "")


def stage(name: str = "answers", version: int = 1, config: Mapping[str, Any] | None = None, **inputs: Stage) -> Stage:
    return Stage(name, version, {"k": 1} if config is None else config, inputs, nothing)


def test_a_key_changes_with_all_that_changes_the_output() -> None:
    seeds, others = stage("seeds"), stage("seeds", config={"k": 2})
    grandchild = {seed.key: stage(source=stage("pool", pool=seed)).key for seed in (seeds, others)}
    keys = [
        stage().key,
        stage("rationales").key,
        stage(version=2).key,
        stage(config={"k": 2}).key,
        stage(config={"k": 1, "cut_off": "drop"}).key,
        stage(source=seeds).key,
        stage(source=others).key,
        stage(pool=seeds).key,
        *grandchild.values(),
    ]
    assert len(set(keys)) == len(keys)


def test_a_key_knows_neither_the_function_nor_the_estimate_nor_the_order() -> None:
    def something(_: StageRun) -> Outcome:
        return Outcome(1, "")

    one = Stage("answers", 1, {"k": 1, "n": 2}, {"a": stage("a"), "b": stage("b")}, nothing)
    same = Stage("answers", 1, {"n": 2, "k": 1}, {"b": stage("b"), "a": stage("a")}, something, "up to 9 tokens")
    assert one.key == same.key
    assert one.folder_name == f"answers-{one.key}"


def test_stages_of_one_kind_have_one_key_whatever_each_is_called() -> None:
    def called(name: str) -> Stage:
        return Stage(name, 1, {"k": 1}, {}, nothing, kind="student")

    assert called("student_0").key == called("student").key == stage("student").key
    assert called("student_0").folder_name == f"student-{called('student').key}"
    assert called("student_0").name == "student_0"


def test_a_config_that_cannot_be_hashed_is_refused() -> None:
    with pytest.raises(TypeError, match="function"):
        _ = stage(config={"filter": nothing}).key
