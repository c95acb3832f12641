"""Open questions: ours, a user's with one turn or two, and what is wrong with a line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.core.config import OpenQuestions
from pipelines.core.errors import UserError
from pipelines.core.parts import dropped_of, rows_of
from pipelines.core.records import OpenQuestion
from pipelines.core.stage import StageRun
from pipelines.judge import questions


def file(folder: Path, *rows: Any) -> OpenQuestions:
    path = folder / "mine.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return OpenQuestions(path=str(path))


def test_ours_have_eight_categories_of_four_and_a_third_of_them_two_turns() -> None:
    asked, dropped = questions.drawn(OpenQuestions(), 17)
    assert (len(asked), dropped) == (32, [])
    by_category = {q.category: [p for p in asked if p.category == q.category] for q in asked}
    assert {name: len(its) for name, its in by_category.items()} == dict.fromkeys(by_category, 4)
    assert len(by_category) == 8
    assert sum(len(q.turns) == 2 for q in asked) == 11
    assert {q.category for q in asked if q.references} == {"reasoning", "arithmetic", "code", "extraction", "facts"}
    assert all(len(q.references) in (0, len(q.turns)) for q in asked)


def test_a_users_lines_become_questions_in_their_order(tmp_path: Path, stage_run: Callable[..., StageRun]) -> None:
    config = file(
        tmp_path,
        {"id": "x", "category": "maths", "turns": ["2+2?", "And 3?"], "reference": "4"},
        {"question_id": 81, "turns": ["Why?"]},
        {"turns": ["How?"], "reference": ["So."]},
    )
    run = stage_run("questions")
    outcome = questions.run(config, 1, run)
    made = list(rows_of(run.folder, OpenQuestion))
    assert [(q.key, q.category, q.turns, q.references) for q in made] == [
        ("x", "maths", ("2+2?", "And 3?"), ("4", "")), ("81", "all", ("Why?",), ()),
        ("line 3", "all", ("How?",), ("So.",)),
    ]  # fmt: skip
    assert (outcome.rows, outcome.facts) == (3, {"two_turns": 1})


def test_a_bad_line_is_dropped_with_its_place_and_costs_no_other(
    tmp_path: Path, stage_run: Callable[..., StageRun]
) -> None:
    good = [{"turns": ["One?"]}, {"turns": ["Two?"]}]
    bad: list[Any] = [
        {"turns": []}, {"turns": ["a", "b", "c"]}, {"turns": [" "]}, {"turns": [1]}, {"prompt": "Why?"},
        {"turns": ["One?"]}, {"turns": ["Three?"], "reference": 3}, {"turns": ["Three?"], "reference": ["a", "b"]},
        "{broken", "[1]",
    ]  # fmt: skip
    run = stage_run("questions")
    outcome = questions.run(file(tmp_path, *good, *bad), 1, run)
    assert (outcome.rows, outcome.dropped) == (
        2, {"no turns": 5, "twice": 1, "bad reference": 2, "unreadable": 1, "not an object": 1},
    )  # fmt: skip
    details = [row.detail for row in dropped_of(run.folder)]
    assert details[0].startswith("line 3: ")
    assert details[5] == "line 8: as line 1"


def test_a_larger_limit_contains_a_smaller_one(tmp_path: Path) -> None:
    config = file(tmp_path, *({"turns": [f"What is {n}?"]} for n in range(20)))

    def ids(limit: int, seed: int = 17) -> list[str]:
        return [q.turns[0] for q in questions.drawn(config.model_copy(update={"limit": limit}), seed)[0]]

    assert len(ids(5)) == 5
    assert set(ids(5)) < set(ids(9))
    assert ids(9) == sorted(ids(9), key=lambda turn: int(turn[8:-1]))
    assert ids(5) != ids(5, seed=18)


def test_nothing_to_ask_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"questions\.path: there is no file 'nowhere\.jsonl'"):
        questions.content_key(OpenQuestions(path="nowhere.jsonl"))
    with pytest.raises(UserError, match=r"has 1 questions, and 2 is the least \(1 lines left out; line 2: `turns`"):
        questions.drawn(file(tmp_path, {"turns": ["One?"]}, {"turns": []}), 1)
