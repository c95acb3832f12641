"""Row-wise stages on teachers that refuse and die: every row is accounted for, and nothing is bought twice."""

import gc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines.core import parts
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Answers
from pipelines.core.errors import BudgetReached
from pipelines.core.progress import Budget
from pipelines.core.records import Answer, Completion, Instruction, SoftTargets, TrainExample
from pipelines.core.signals import unpack
from pipelines.core.stage import Outcome, StageRun
from pipelines.core.storage import Folder
from pipelines.generate.answers import AnswerWork
from pipelines.generate.asking import FLUSH_ROWS
from pipelines.generate.faculty import run_rows
from pipelines.generate.ledger import Ledger
from pipelines.generate.soft_targets import SoftTargetWork

if TYPE_CHECKING:
    from tests.conftest import FakeFaculty

ROWS = parts.SHARD_ROWS + 16
MakeFaculty = Callable[..., "FakeFaculty"]
Run = Callable[..., StageRun]


def tasks(numbers: Iterable[int]) -> list[Instruction]:
    return [Instruction(f"i{n}", f"List {n} rivers.", "", "seed", "train", (), "", "") for n in numbers]


@pytest.fixture
def source(runs: Folder) -> Folder:
    """A finished stage of one and a half shards of instructions."""
    folder = runs.child("source")
    parts.write_rows(folder, tasks(range(ROWS)), Instruction)
    return folder


def answers(faculty: "FakeFaculty", source: Folder, run: StageRun, samples: int = 1) -> Outcome:
    work = AnswerWork("answers", Answers(teacher="main", samples=samples), faculty.identity("main"))
    return run_rows(work, faculty, "main", "answers", source, run)


def bought(faculty: "FakeFaculty", runs: Folder) -> dict[str, Completion]:
    """What of the asked is in the ledger."""
    return Ledger(runs, faculty.identity("main"), Completion).find(faculty.asked_ids)


def test_every_row_is_answered_in_the_inputs_order(
    make_faculty: MakeFaculty, source: Folder, stage_run: Run, runs: Folder, tokenizer: ChatTokenizer
) -> None:
    faculty, run = make_faculty(), stage_run("answers")
    outcome = answers(faculty, source, run)
    rows = list(parts.rows_of(run.folder, Answer))
    assert [a.instruction_id for a in rows] == [f"i{n}" for n in range(ROWS)]
    assert (outcome.rows, outcome.dropped) == (ROWS, {})
    said = bought(faculty, runs).values()
    assert outcome.prompt_tokens == sum(len(r.prompt_ids(tokenizer)) for r in faculty.asked)  # type: ignore[union-attr]
    assert outcome.output_tokens == sum(len(c.token_ids) for c in said) == run.progress.tokens - outcome.prompt_tokens
    assert run.progress.done == ROWS


def test_all_samples_of_a_row_are_kept_together_and_fail_alone(
    make_faculty: MakeFaculty, source: Folder, stage_run: Run
) -> None:
    answers(make_faculty(), source, stage_run("one-each"))
    run = stage_run("answers")
    faculty = make_faculty(refuses=lambda _: len(faculty.asked) == 2)  # the first row's last sample: its first is there
    outcome = answers(faculty, source, run, samples=3)
    rows = list(parts.rows_of(run.folder, Answer))
    assert [(a.instruction_id, a.sample) for a in rows] == [
        (f"i{n}", sample) for n in range(ROWS) for sample in range(3) if (n, sample) != (0, 2)
    ]
    assert len({a.id for a in rows}) == len({a.completion_id for a in rows}) == len(rows)
    assert (outcome.rows, outcome.dropped, run.progress.done) == (3 * ROWS - 1, {"request failed": 1}, ROWS)
    assert [d.id for d in parts.dropped_of(run.folder)] == ["i0.2"]
    assert len(faculty.asked) == 2 * ROWS  # the first samples were there


def test_a_rows_samples_are_asked_next_to_each_other_so_that_its_prefix_is_reused(
    make_faculty: MakeFaculty, source: Folder, stage_run: Run
) -> None:
    faculty = make_faculty()
    answers(faculty, source, stage_run("answers"), samples=3)
    asked = [(r.prompt, r.ordinal) for r in faculty.asked]  # type: ignore[union-attr]
    for shard in (range(parts.SHARD_ROWS), range(parts.SHARD_ROWS, ROWS)):
        prompts = [task.text for task in tasks(shard)]
        its = [each for each in asked if each[0] in prompts]
        assert its == [(prompt, sample) for prompt in prompts for sample in range(3)]


def test_a_refused_row_is_dropped_with_its_reason_and_the_others_go_on(
    make_faculty: MakeFaculty, source: Folder, stage_run: Run
) -> None:
    refused = {"List 3 rivers.", "List 40 rivers."}
    faculty, run = make_faculty(refuses=lambda request: request.prompt in refused), stage_run("answers")
    outcome = answers(faculty, source, run)
    assert (outcome.rows, outcome.dropped) == (ROWS - 2, {"request failed": 2})
    dropped = list(parts.dropped_of(run.folder))
    assert [(d.id, d.text, d.detail) for d in dropped] == [
        ("i3", "List 3 rivers.", "refused, as the test wants"),
        ("i40", "List 40 rivers.", "refused, as the test wants"),
    ]


@pytest.mark.parametrize("after", [5, 40])
def test_a_killed_run_goes_on_and_buys_nothing_again(
    make_faculty: MakeFaculty,
    source: Folder,
    stage_run: Run,
    runs: Folder,
    tmp_path: Path,
    after: int,
) -> None:
    dying, run = make_faculty(dies_after=after), stage_run("answers")
    elsewhere = Folder(str(tmp_path / "undisturbed"))
    expected = answers(make_faculty(), source, StageRun(elsewhere.child("answers"), {}, elsewhere, run.progress))
    with pytest.raises(ConnectionError):
        answers(dying, source, run)
    assert len(dying.asked) == after
    kept = bought(dying, runs)
    assert after - len(kept) <= FLUSH_ROWS  # only what came after the last commit may be lost

    second = make_faculty()
    outcome = answers(second, source, run)
    assert (outcome.rows, outcome.digest) == (expected.rows, expected.digest)
    assert (outcome.prompt_tokens, outcome.output_tokens) == (expected.prompt_tokens, expected.output_tokens)
    assert kept.keys().isdisjoint(second.asked_ids)
    assert len(second.asked) == ROWS - len(kept)


def test_a_teacher_that_is_gone_is_told_once_and_not_for_every_row(
    make_faculty: MakeFaculty, source: Folder, stage_run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConnectionError):
        answers(make_faculty(dies_after=5), source, stage_run("answers"))
    gc.collect()
    assert caplog.text == ""


def test_a_run_that_reached_its_budget_goes_on(
    make_faculty: MakeFaculty, source: Folder, stage_run: Run, runs: Folder
) -> None:
    first, second, run = make_faculty(), make_faculty(), stage_run("answers")
    run.progress.budget = Budget(max_tokens=1)
    with pytest.raises(BudgetReached):
        answers(first, source, run)
    kept = bought(first, runs)
    assert len(kept) >= ROWS - parts.SHARD_ROWS  # at least the shard that was finished
    run.progress.budget = Budget()
    assert answers(second, source, run).rows == ROWS
    assert len(second.asked) == ROWS - len(kept)


def test_a_second_run_asks_nothing_and_a_longer_input_only_what_is_new(
    make_faculty: MakeFaculty, source: Folder, stage_run: Run, runs: Folder
) -> None:
    answers(make_faculty(), source, stage_run("answers"))
    again, longer = make_faculty(), make_faculty()
    answers(again, source, stage_run("answers"))
    answers(again, source, stage_run("answers-of-another-run"))
    assert again.asked == []
    more = runs.child("longer")
    parts.write_rows(more, tasks(range(-5, ROWS)), Instruction)
    answers(longer, more, stage_run("answers-longer"))
    assert sorted(r.prompt for r in longer.asked) == sorted(i.text for i in tasks(range(-5, 0)))  # type: ignore[union-attr]


def test_an_input_without_rows_gives_none(make_faculty: MakeFaculty, stage_run: Run, runs: Folder) -> None:
    parts.write_rows(runs.child("nothing"), [], Instruction)
    outcome = answers(make_faculty(), runs.child("nothing"), stage_run("answers"))
    assert (outcome.rows, outcome.output_tokens) == (0, 0)


def test_signals_stand_at_the_weighted_tokens(make_faculty: MakeFaculty, stage_run: Run, runs: Folder) -> None:
    weights = {"e1": (0.0, 0.0, 1.0, 0.5), "e2": (1.0, 1.0, 0.0)}
    examples = [TrainExample(id, "", "", "answer", tuple(range(5, 5 + len(w))), w) for id, w in weights.items()]
    parts.write_rows(runs.child("examples"), examples, TrainExample)
    faculty, run = make_faculty(), stage_run("soft_targets")
    work = SoftTargetWork(faculty.identity("main"), k=3)
    outcome = run_rows(work, faculty, "main", "soft_targets", runs.child("examples"), run)
    made = list(parts.rows_of(run.folder, SoftTargets))
    assert [(s.example_id, s.positions, s.k) for s in made] == [("e1", (2, 3), 3), ("e2", (1,), 3)]
    assert [unpack(s)[0][:, 0].tolist() for s in made] == [[7, 8], [6]]
    assert outcome.prompt_tokens == run.progress.tokens == 7
