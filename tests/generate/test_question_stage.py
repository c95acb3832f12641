"""The stage `questions`: two parts that share no stem, draws that nest, and what is told where too few are left."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.core.config import Questions
from pipelines.core.errors import UserError
from pipelines.core.parts import dropped_of, rows_of
from pipelines.core.records import Dropped, Question
from pipelines.core.stage import Outcome, StageRun
from pipelines.formats.questions import folded
from pipelines.generate import questions

TINYLLM = Path(__file__).parents[2].parent / "shared/data/tinyllm"

Made = tuple[Outcome, list[Question], list[Dropped]]
Make = Callable[..., Made]


def row(stem: str, answer: int = 0, choices: tuple[str, ...] = ("ink", "milk", "rain")) -> dict[str, Any]:
    return {"question": stem, "choices": choices, "answer": answer}


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., str]:
    """folder(train=rows, test=rows): where these are files of JSON lines."""

    def make(**parts: list[dict[str, Any]]) -> str:
        for part, rows in parts.items():
            (tmp_path / f"{part}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        return str(tmp_path)

    return make


@pytest.fixture
def made(stage_run: Callable[..., StageRun]) -> Make:
    """made(path, seed=1, limit=..., ...): the stage's outcome, its rows and what it dropped, each in a folder anew."""
    count = 0

    def make(path: str, seed: int = 1, **limits: int) -> Made:
        nonlocal count
        count += 1
        run = stage_run(f"questions-{count}")
        outcome = questions.run(Questions(path=path, **limits), seed, run)
        return outcome, list(rows_of(run.folder, Question)), list(dropped_of(run.folder))

    return make


def test_each_question_is_there_once_and_no_stem_is_in_both_parts(folder: Callable[..., str], made: Make) -> None:
    train = [row("What is wet?", 2), row("What is black?"), row("What is wet?", 2), row("What is  WHITE?")]
    other_choices = row("What is black?", choices=("coal", "snow"))
    test = [row("What is white?", 1), row("What is grey?"), row("What is grey?")]
    outcome, rows, dropped = made(folder(train=[*train, other_choices], test=test))
    assert Counter((q.part, q.stem) for q in rows) == {
        ("train", "What is wet?"): 1,
        ("train", "What is black?"): 2,
        ("test", "What is white?"): 1,
        ("test", "What is grey?"): 1,
    }
    assert outcome.dropped == {"twice": 2, "its stem is in the test part": 1}
    assert Counter(row.detail for row in dropped) == {
        "train.jsonl:3, in the train part": 1,
        "test.jsonl:3, in the test part": 1,
        "train.jsonl:4, in the train part": 1,
    }
    assert outcome.facts == {
        "train": 3,
        "test": 2,
        "stems_in_test": 1,
        "answers_at": {"train": [2, 0, 1], "test": [1, 1, 0]},
    }


def test_what_the_reader_dropped_is_kept_too(folder: Callable[..., str], made: Make) -> None:
    path = folder(train=[row("What?"), {"question": "Which?"}], test=[row("Who?"), row("Whose?")])
    outcome, rows, [dropped] = made(path)
    assert (outcome.rows, len(rows)) == (3, 3)
    assert (dropped.stage, dropped.reason) == ("questions", "fewer than two choices")


def test_the_rows_are_in_the_order_drawn_and_a_larger_limit_contains_a_smaller(made: Make) -> None:
    everything = made("builtin")[1]
    assert [q.part for q in everything] == ["train"] * 80 + ["test"] * 40
    for limits, train, test in (
        ({"limit": 5}, 5, 5),
        ({"limit": 9, "test_limit": 3}, 9, 3),
        ({"test_limit": 7}, 80, 7),
        ({"limit": 1000}, 80, 40),
    ):
        assert made("builtin", **limits)[1] == everything[:train] + everything[80 : 80 + test]


def test_the_seed_draws_and_does_not_move_the_parts(made: Make) -> None:
    one, two = (made("builtin", seed)[1] for seed in (1, 2))
    assert one != two
    assert {(q.id, q.part) for q in one} == {(q.id, q.part) for q in two}
    assert made("builtin", 1)[0].digest == made("builtin", 2)[0].digest


@pytest.mark.parametrize(
    ("train", "test", "limits", "words"),
    [
        (0, 3, {}, r"data.path: .*no question to learn from, and 3 to be tested on"),
        (3, 1, {}, r"data.path: .*too few questions to be tested on \(1;"),
        (3, 3, {"limit": 1}, r"data.limit: 1 leaves 1 to be tested on; set data.test_limit"),
    ],
)
def test_too_few_questions_are_told(
    folder: Callable[..., str], made: Make, train: int, test: int, limits: dict[str, int], words: str
) -> None:
    learnt, tested = ([row(f"{part} {n}?") for n in range(many)] for part, many in (("a", train), ("b", test)))
    with pytest.raises(UserError, match=words):
        made(folder(train=learnt, test=tested), **limits)


def test_the_key_follows_the_files(folder: Callable[..., str]) -> None:
    def key() -> str:
        return questions.content_key(Questions(path=path))

    path = folder(train=[row("What?")])
    keys = [key()]
    for parts in ({"test": [row("Who?")]}, {"train": [row("Which?")]}):
        folder(**parts)
        keys.append(key())
    assert len(set(keys)) == 3
    Path(path, "notes.txt").write_text("Nobody reads this.")
    assert key() == keys[-1]
    with pytest.raises(UserError, match=r"data.path"):
        questions.content_key(Questions(path="absent"))


# ARC's seven shared stems are of seven test questions; two of them have the same, so six are taken out of training.
# One of OBQA's differs in its capitals only.
@pytest.mark.parametrize(("name", "exactly", "taken_out"), [("obqa", 22, 23), ("arc", 6, 6)])
def test_stems_of_real_tests_are_taken_out_of_training(name: str, exactly: int, taken_out: int, made: Make) -> None:
    if not (TINYLLM / name).is_dir():
        pytest.skip(f"shared/data/tinyllm/{name} is not beside this checkout")
    outcome, rows, dropped = made(str(TINYLLM / name))
    stems: dict[str, set[str]] = {part: {q.stem for q in rows if q.part == part} for part in ("train", "test")}
    gone = [d.text for d in dropped if d.reason == "its stem is in the test part"]
    assert sum(stem in stems["test"] for stem in gone) == exactly
    assert outcome.facts["stems_in_test"] == len(gone) == taken_out
    assert {folded(stem) for stem in stems["train"]}.isdisjoint(folded(stem) for stem in stems["test"])
