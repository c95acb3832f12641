"""What teachers are shown: the blocks to the letter, and which other questions stand before one."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from pipelines.core import parts
from pipelines.core.config import InContext
from pipelines.core.records import Question, Rationale, RationaleTask
from pipelines.core.stage import Outcome, StageRun
from pipelines.core.storage import Folder
from pipelines.generate import rationale_tasks
from pipelines.generate.rationale_tasks import block, drawn

ICE = Question("q0", "7-1", "What melts ice?", "", ("cold", "the sun"), 1, "train")
OTHERS = [replace(ICE, id=f"q{n}", stem=f"What melts {n} cubes?") for n in range(1, 8)]
ANSWERED = "Question:\nWhat melts ice?\nOptions:\n(a) cold\n(b) the sun\nAnswer:\nb"
OPEN = f"{ANSWERED}\nRationale:\nLet's think step by step."
WHY = "The sun warms the ice until it melts."


def test_a_block_has_lettered_options_the_letter_alone_and_the_cue() -> None:
    assert block(ICE, None) == ANSWERED
    assert block(ICE, "") == OPEN
    assert block(ICE, WHY) == f"{OPEN} {WHY}"
    assert block(replace(ICE, context="It is May."), None) == f"Context:\nIt is May.\n{ANSWERED}"


def test_others_are_drawn_anew_for_each_question_and_never_itself() -> None:
    pool = [ICE, *OTHERS]
    draws = {question.id: [other.id for other in drawn(question, pool, 3, 1)] for question in pool}
    for id, shown in draws.items():
        assert len(set(shown)) == 3
        assert id not in shown
    assert len({tuple(shown) for shown in draws.values()}) == len(pool)
    assert [other.id for other in drawn(ICE, pool, 3, 1)] == draws["q0"]
    assert [other.id for other in drawn(ICE, pool, 3, 2)] != draws["q0"]
    assert len(drawn(ICE, pool, 16, 1)) == 7
    assert drawn(ICE, [ICE], 2, 1) == drawn(ICE, [], 2, 1) == drawn(ICE, pool, 0, 1) == []


def test_all_others_are_drawn_equally_often() -> None:
    counts = Counter(other.id for seed in range(1400) for other in drawn(ICE, [ICE, *OTHERS], 2, seed))
    assert set(counts) == {other.id for other in OTHERS}
    assert all(340 < count < 460 for count in counts.values())  # 400 of each are to be expected


@pytest.fixture
def made(runs: Folder, stage_run: Callable[..., StageRun]) -> Callable[..., tuple[Outcome, list[RationaleTask]]]:
    def make(
        rows: Sequence[Question], worked: Sequence[Rationale] | None = None
    ) -> tuple[Outcome, list[RationaleTask]]:
        inputs = {"questions": runs.child("questions")}
        parts.write_rows(inputs["questions"], rows, Question)
        if worked is not None:
            inputs["worked"] = runs.child("worked")
            parts.write_rows(inputs["worked"], worked, Rationale)
        run = stage_run("rationale_tasks", **inputs)
        outcome = rationale_tasks.run(InContext(count=2), 7, run)
        return outcome, list(parts.rows_of(run.folder, RationaleTask))

    return make


def test_tasks_are_for_training_questions_and_show_no_others(
    made: Callable[..., tuple[Outcome, list[RationaleTask]]],
) -> None:
    outcome, tasks = made([ICE, *OTHERS[:3], replace(OTHERS[3], part="test")])
    assert [task.id for task in tasks] == ["q0", "q1", "q2", "q3"]
    assert all(len(task.shown) == 2 and "q4" not in task.shown for task in tasks)
    assert tasks[0].text.endswith(f"\n\n{OPEN}")
    assert tasks[0].text.count("Question:") == 3
    assert tasks[0].text.count("Rationale:") == 1
    assert outcome.facts == {"to_choose_from": 4, "shown_fewer": 0}


def test_worked_examples_have_a_good_rationale_and_there_may_be_fewer(
    made: Callable[..., tuple[Outcome, list[RationaleTask]]],
) -> None:
    worked = [
        Rationale("r0", "q0", "given", f"{WHY}\nQuestion:\nWhat is", "", "stop"),
        Rationale("r1", "q1", "given", "Ice needs to be warm. So, the answer is (a).", "", "stop"),
        Rationale("r2", "q2", "given", "The sun shines on all of the cubes.", "", "stop"),
    ]
    outcome, tasks = made([ICE, *OTHERS[:2]], worked)
    shown = {task.id: set(task.shown) for task in tasks}
    assert shown == {"q0": {"q2"}, "q1": {"q0", "q2"}, "q2": {"q0"}}
    assert f"Rationale:\nLet's think step by step. {WHY}\n\nQuestion:" in tasks[2].text
    assert outcome.facts == {"to_choose_from": 2, "shown_fewer": 2}
