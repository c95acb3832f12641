"""What is kept of all sources' rationales: filters, trimming, each question's best, and that no order matters."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from pipelines.core import parts
from pipelines.core.config import Rationales
from pipelines.core.records import Dropped, Question, Rationale
from pipelines.core.stage import Outcome, StageRun
from pipelines.core.storage import Folder
from pipelines.generate import rationale_selection
from pipelines.generate.rationale_selection import Scores, agreement, best

RUBS = "Dry palms rub more than others, and rubbing makes heat."
SHORT = "Rubbing makes heat."
CUT = f"{RUBS} This is why the"
OTHER = "Water makes heat. So, the answer is (b)."
QUESTIONS = [
    Question(f"q{n}", f"k{n}", f"Which skin is warm in case {n}?", "", ("dry palms", "wet palms"), 0, "train")
    for n in range(4)
]
BY_ID = {question.id: question for question in QUESTIONS}


def rationale(id: str, source: str, text: str) -> Rationale:
    return Rationale(Rationale.make_id(id, source, text), id, source, text, "", "stop")


GIVEN = {
    "t5": [rationale("q0", "t5", RUBS), rationale("q1", "t5", SHORT), rationale("q3", "t5", OTHER)],
    "llama": [rationale("q1", "llama", RUBS), rationale("q0", "llama", CUT)],
}
Kept = tuple[Outcome, list[Rationale], list[Dropped]]


@pytest.fixture
def kept(runs: Folder, stage_run: Callable[..., StageRun]) -> Callable[..., Kept]:
    def make(given: Mapping[str, Sequence[Rationale]], scores: Scores | None = None, **how: Any) -> Kept:
        parts.write_rows(runs.child("questions"), QUESTIONS, Question)
        inputs = {"questions": runs.child("questions")}
        for source, rows in given.items():
            inputs[f"rationales_{source}"] = runs.child(source)
            parts.write_rows(runs.child(source), rows, Rationale)
        run = stage_run("rationales", **inputs)
        sources = {name: {"kind": "file", "path": "x", "prefix": f"{name}: "} for name in given}
        outcome = rationale_selection.run(Rationales(sources=sources, **how), scores, run)
        return outcome, list(parts.rows_of(run.folder, Rationale)), list(parts.dropped_of(run.folder))

    return make


def test_faulty_rationales_are_dropped_with_their_source_and_a_missing_one_gives_no_row(
    kept: Callable[..., Kept],
) -> None:
    outcome, rows, dropped = kept(GIVEN)
    assert [(row.question_id, row.source, row.text) for row in rows] == [("q0", "t5", RUBS), ("q1", "llama", RUBS)]
    assert outcome.dropped == {"too short": 1, "argues for another": 1, "cut off": 1}
    assert (dropped[0].reason, dropped[0].text, dropped[0].detail) == ("cut off", QUESTIONS[0].stem, f"llama: {CUT}")
    assert outcome.facts == {
        "sources": {
            "llama": {"read": 2, "trimmed": 0, "kept": 1, "dropped": {"cut off": 1}},
            "t5": {"read": 3, "trimmed": 0, "kept": 1, "dropped": {"argues for another": 1, "too short": 1}},
        },
        "questions_by_rationales": {"0": 2, "1": 2},
    }


def test_trimmed_ones_are_kept_by_question_and_then_source(kept: Callable[..., Kept]) -> None:
    lost = rationale("q2", "llama", "It rubs so")
    outcome, rows, dropped = kept({**GIVEN, "llama": [*GIVEN["llama"], lost]}, trim=True, filters=["too short"])
    assert [(row.question_id, row.source) for row in rows] == [
        ("q0", "llama"), ("q0", "t5"), ("q1", "llama"), ("q3", "t5"),
    ]  # fmt: skip
    assert rows[0].text == RUBS
    assert {row.reason for row in dropped} == {"nothing left", "too short"}
    assert outcome.facts["sources"]["llama"]["trimmed"] == 2
    assert outcome.facts["questions_by_rationales"] == {"0": 1, "1": 2, "2": 1}


def test_the_order_of_sources_does_not_matter(kept: Callable[..., Kept]) -> None:
    backwards = {source: rows[::-1] for source, rows in reversed(GIVEN.items())}
    for how in ({}, {"trim": True, "select": {"by": "agreement"}, "filters": []}):
        one, other = kept(GIVEN, **how), kept(backwards, **how)
        assert one[:2] == other[:2]
        assert {row.id for row in one[2]} == {row.id for row in other[2]}


def test_agreement_is_saying_the_right_option_and_being_like_the_others() -> None:
    says, alike = "The heat is from dry palms.", "The heat is from rubbing."
    odd = "Nobody knows."
    scores = agreement([(QUESTIONS[0], rationale("q0", name, name)) for name in (says, alike, odd)])
    assert scores == pytest.approx([1 + 8 / 11 / 2, 8 / 11 / 2, 0.0])  # 4 of 6 and 5 words in common
    assert agreement([]) == []


def test_others_of_another_question_do_not_count() -> None:
    pairs = [
        (QUESTIONS[n], rationale(f"q{n}", source, text)) for n in (0, 1) for source, text in (("a", SHORT), ("b", RUBS))
    ]
    assert agreement(pairs)[:2] == agreement(pairs[:2])


def test_the_highest_score_wins_and_the_losers_say_theirs(kept: Callable[..., Kept]) -> None:
    asked: list[list[str]] = []

    def scores(pairs: Sequence[tuple[Question, Rationale]]) -> list[float]:
        asked.append([f"{question.id} {row.source}" for question, row in pairs])
        return [-2.0 if row.source == "t5" else -0.5 for _, row in pairs]

    outcome, rows, dropped = kept(GIVEN, scores, select={"by": "student"}, filters=[])
    assert asked == [["q1 llama", "q0 llama", "q0 t5", "q1 t5"]]  # of the one rationale of q3 nothing is asked
    assert [(row.question_id, row.source, row.score) for row in rows] == [
        ("q0", "llama", -0.5), ("q1", "llama", -0.5), ("q3", "t5", 0.0),
    ]  # fmt: skip
    assert outcome.dropped == {"another was chosen": 2}
    assert dropped[0].detail == f"t5, -2.0000: {RUBS}"
    assert outcome.facts["sources"]["t5"] == {
        "read": 3, "trimmed": 0, "kept": 1, "dropped": {"another was chosen": 2},
    }  # fmt: skip


def test_equal_scores_are_told_apart_by_the_id_alone() -> None:
    rows = [rationale("q0", source, RUBS) for source in ("a", "b", "c")]
    kept, lost = best(rows, BY_ID, lambda pairs: [0.0] * len(pairs))
    assert [row.id for row in kept] == [max(row.id for row in rows)]
    assert len(lost) == 2
    assert best(rows[::-1], BY_ID, lambda pairs: [0.0] * len(pairs))[0] == kept
