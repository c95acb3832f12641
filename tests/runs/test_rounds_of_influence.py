"""A run whose teacher is tuned, finished by hand: what its report, its export and a trace make of it.

No stage runs. Each has the rows and facts that its readers want, or none.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.core import manifest
from pipelines.core.errors import UserError
from pipelines.core.parts import summary, write_rows
from pipelines.core.recipe import Montessori
from pipelines.core.records import (
    Answer,
    Completion,
    Dropped,
    HeldOutLoss,
    Influence,
    Instruction,
    Preference,
    TrainExample,
)
from pipelines.core.stage import Done, Outcome, Stage
from pipelines.core.storage import Folder
from pipelines.generate.ledger import Ledger
from pipelines.generate.teacher import TeacherId
from pipelines.report import data
from pipelines.report.markdown import markdown
from pipelines.report.page import html
from pipelines.runs import api, lineage, reporting, terminal
from pipelines.runs.export import export

TEACHER = {"teacher": "main", "teacher_digest": "fake-0123456789", "retries": 0, "request_seconds": 0.0}
TUNED = {**TEACHER, "teacher": "main-round-1"}
SEED = Instruction("s1", "List two rivers.", "", "seed", "train", (), "", "Ob, Lena")
INFLUENCES = (-0.4, -0.3, -0.2, -0.1, 0.1, 0.2, 0.3, 0.4)
# Nats of two held-out rows, of 1 and 3 tokens.
NATS = {
    "student-before": (5.0, 9.0), "student-0-1": (2.0, 6.0), "student-0-2": (4.0, 6.0), "student-1-1": (1.0, 6.0),
    "student-1-2": (3.0, 3.0),
}  # fmt: skip


def tasks(letter: str, number: int) -> list[Instruction]:
    return [
        Instruction(f"{letter}{n}", f"Task {letter}{n}.", "", "bootstrap", "train", ("s1",), f"c-{letter}{n}", "")
        for n in range(number)
    ]


def answers(of: Sequence[Instruction]) -> list[Answer]:
    return [Answer(f"a-{t.id}", t.id, f"d-{t.id}", t.text, f"Answer to {t.id}.", "stop") for t in of]


def examples(of: Sequence[Instruction]) -> list[TrainExample]:
    return [TrainExample(f"e-{t.id}", f"a-{t.id}", t.id, "answer", (1, 2), (0.0, 1.0), t.id) for t in of]


def preferred(component: str, completion: str) -> TrainExample:
    return TrainExample(f"x-{component}", completion, "", component, (1, 2), (0.0, 1.0), "p1", group="p1")


FIRST, SECOND = tasks("t", 8), tasks("u", 6)
ROWS: dict[str, list[Any]] = {
    "seeds": [SEED],
    "instructions_0": [SEED, *FIRST], "tasks_0": FIRST, "answers_0": answers(FIRST), "examples_0": examples(FIRST),
    "budget_0": examples(FIRST)[:5], "probe_rows_0": examples(FIRST),
    "influence_0": [
        *(
            Influence(f"i{n}", f"e-t{n}", "first_order", value, 2.0, 2.0 - value, 2.0, 0.0, 1.0)
            for n, value in enumerate(INFLUENCES)
        ),
        Influence("j0", "e-t0", "exact", 9.9, 2.0, -7.9, 2.0, 0.0, 1.0),
    ],
    "preferences_0": [Preference("p1", "Write.", "Task t7.", "Task t0.", "c-t7", "c-t0", 0.8)],
    "pairs_0": [preferred("chosen", "c-t7"), preferred("rejected", "c-t0")],
    "instructions_1": [SEED, *SECOND], "answers_1": answers(SECOND), "examples_1": examples(SECOND),
    "budget_1": examples(SECOND)[1:],
    "held_out_loss": [
        HeldOutLoss(f"{model}-{row}", row, "", model, nll, tokens)
        for model, nats in NATS.items()
        for (row, tokens), nll in zip((("h1", 1), ("h2", 3)), nats, strict=True)
    ],
}  # fmt: skip


DROPPED = {"instructions_0": [Dropped(f"d{n}", "instructions", "too short", "Go.", "") for n in range(5)]}


def trained(name: str, *losses: float) -> dict[str, Any]:
    curve = [
        {"step": n, "tokens": 10, "losses": {name: loss}, "learning_rate": 0.1} for n, loss in enumerate(losses, 1)
    ]
    return {"loss_curve": curve, "tokens": 10 * len(losses), "steps": len(losses)}


FACTS: dict[str, dict[str, Any]] = {
    "instructions_0": TEACHER, "answers_0": TEACHER, "instructions_1": TUNED, "answers_1": TUNED,
    "influence_0": {
        "method": "first_order", "by_loss": -0.25,
        "self_check": {"rows": 1, "spearman": 0.93, "pearson": 0.95, "same_sign": 1.0},
    },
    "preferences_0": {"prompts": 2, "prompts_with_pairs": 1, "pairs_per_prompt": {1: 1}, "mean_margin": 0.8},
    "teacher_1": trained("dpo", 0.693, *[0.68] * 17, 0.6, 0.5),
    "warm_0": trained("answer", 3.0),
    "budget_0": {"tokens": 40}, "budget_1": {"tokens": 50},
    "student_0": trained("answer", 2.0, 1.5), "student_0_no_2": trained("answer", 9.0, 9.0),
    "student": trained("answer", 1.9, 1.2), "student_no_2": trained("answer", 9.0, 9.0),
    "held_out_loss": {"nats_per_token": {}, "parameters": dict.fromkeys(NATS, 5_000_000)},
}  # fmt: skip


@dataclass(frozen=True)
class Faked:
    """A run that has got so far."""

    recipe: Montessori
    folder: Folder
    stages: Sequence[Stage]

    def report(self) -> data.Report:
        return reporting.of_run(self.recipe, self.folder, self.stages)


Fake = Callable[..., Faked]


@pytest.fixture
def fake(montessori_data: dict[str, Any], runs: Folder, tmp_path: Path) -> Fake:
    def make(upto: str = "held_out_loss") -> Faked:
        """The last stage that is finished."""
        file = tmp_path / "montessori.yaml"
        file.write_text(yaml.safe_dump(montessori_data))
        recipe, folder, stages = api.open_run(str(file), runs.uri)
        assert isinstance(recipe, Montessori)
        folder.write_bytes("recipe.yaml", file.read_bytes())
        done: dict[str, Done] = {}
        for stage in stages[: [each.name for each in stages].index(upto) + 1]:
            inputs = {role: done[parent.key] for role, parent in stage.inputs.items()}
            done[stage.key] = finished(stage, runs, inputs)
        return Faked(recipe, folder, stages)

    return make


def finished(stage: Stage, runs: Folder, inputs: dict[str, Done]) -> Done:
    folder, rows, facts = runs.child(stage.folder_name), ROWS.get(stage.name, []), FACTS.get(stage.name, {})
    outcome = Outcome(1, stage.name, facts=facts)
    if rows:
        write_rows(folder, rows, type(rows[0]), DROPPED.get(stage.name, ()))
        outcome = Outcome(*summary(folder, type(rows[0])), facts=facts)
    return manifest.write(stage, folder, inputs, outcome, 0.0)


def test_a_round_is_told_as_it_was_worked_out_by_hand(fake: Fake) -> None:
    (found,) = fake().report().influence
    assert (found.round, found.rows, found.helped) == (1, 8, 0.5)
    assert found.by_loss == -0.25
    assert found.quantiles == pytest.approx((-0.365, -0.225, 0.0, 0.225, 0.365))  # ranks 0.35, 1.75, 3.5, 5.25, 6.65
    assert found.self_check == data.SelfCheck(1, 0.93, 1.0)
    assert found.preferred == data.Preferred(1, 0.8, 2, {1: 1})
    assert found.dpo == pytest.approx((0.693, 0.55))
    assert [row.influence for row in (*found.best, *found.worst)] == [0.4, 0.3, 0.2, -0.4, -0.3, -0.2]


def test_a_row_at_an_end_says_where_it_comes_from(fake: Fake) -> None:
    row = fake().report().influence[0].worst[0]
    assert (row.id, row.instruction_id, row.instruction, row.answer) == ("i0", "t0", "Task t0.", "Answer to t0.")
    assert (row.parents, row.teacher) == (("s1",), "main (fake-0123456)")
    assert row.sampling == (
        "instruction: temperature 1, min p 0.05, up to 400 tokens; answer: temperature 0.7, up to 128 tokens"
    )


def test_students_are_compared_row_by_row(fake: Fake) -> None:
    first, tuned = fake().report().taught
    assert (first.teacher, first.students, first.rows, first.tokens, first.gained) == ("main", 2, 5, 40, None)
    assert (tuned.teacher, tuned.rows, tuned.tokens) == ("main after round 1", 5, 50)
    assert first.loss is not None
    assert tuned.loss is not None
    assert tuned.gained is not None
    assert first.loss.mean == (3 + 6) / 4  # each row's mean over two students, over all tokens
    assert tuned.loss.mean == (2 + 4.5) / 4
    # Rows differ by -1 of 1 token and -1.5 of 3: two draws are -1, -0.625 or -0.5 nats per token.
    apart = tuned.gained.interval
    assert (apart.mean, apart.low, apart.high) == (-0.625, -1.0, -0.5)
    assert tuned.gained.smallest == pytest.approx(2.8 * 0.5 / (2 * 1.95996), rel=1e-4)


def test_the_report_has_a_row_for_each_model_and_claims_no_gap(fake: Fake) -> None:
    report = fake().report()
    assert [(s.model, s.rows, s.tokens, s.parameters) for s in report.scores] == [
        ("student before", 2, 4, 5_000_000), ("student of main", 2, 4, 5_000_000),
        ("student of main after round 1", 2, 4, 5_000_000),
    ]  # fmt: skip
    assert report.gap_closed is None
    assert [card.value for card in report.headline] == ["-0.6250", "5", "5 M"]
    assert [row.instruction_id for row in report.examples] == ["u1", "u2", "u3", "u4", "u5"]
    assert [step.label for step in report.funnel] == [
        "seeds", "instructions_0", "answers_0", "examples_0", "instructions_1", "answers_1", "examples_1",
    ]  # fmt: skip
    assert [(p.step, p.components) for p in report.loss_curve] == [
        (1, {"answer, untuned teacher": 2.0}), (2, {"answer, untuned teacher": 1.5}),
        (3, {"answer, after round 1": 1.9}), (4, {"answer, after round 1": 1.2}),
    ]  # fmt: skip


def test_notes_say_what_tuning_changed_and_what_that_leaves_open(fake: Fake) -> None:
    report = fake().report()
    change = (
        "Held-out loss of the students of main after round 1 minus that of the students of main, row by row: "
        "-0.6250 [-1.0000, -0.5000] nats per token. Lower is better; 2 rows would show a difference of 0.3571 four "
        "times in five."
    )
    assert change in report.notes
    assert "Of each teacher's 2 students a row's mean loss was taken first." in report.notes
    shown = terminal.summary(report)
    assert change in shown
    assert "round 1: 8 rows probed, 50% helped; 1 preferences, their loss 0.693 when tuning began and 0.550" in shown
    widths = {len(line) for line in shown.splitlines() if "nats/token" in line or line.endswith(" M")}
    assert len(widths) == 1


def test_a_run_half_way_tells_what_is_there(fake: Fake) -> None:
    report = fake("influence_0").report()
    assert [(r.rows, r.preferred, r.dpo) for r in report.influence] == [(8, None, None)]
    assert [(t.teacher, t.loss, t.gained) for t in report.taught] == [("main", None, None)]
    assert report.examples[0].instruction_id == "t0"
    for shown in (markdown(report), html(report)):
        assert "not measured" in shown
        assert "ln 2" not in shown


def test_a_trace_goes_from_an_influence_and_a_preference_to_the_seed(fake: Fake, runs: Folder) -> None:
    fake()
    book: Ledger[Completion] = Ledger(runs, TeacherId("main", "0123456789abcdef"), Completion)
    book.add([Completion(id, "0123456789abcdef", "Write.", "Task.", (1,), "stop", 1, 1) for id in ("c-t0", "c-t7")])
    kinds = [line.split()[0] for line in lineage.trace("i7", runs.uri)]
    assert kinds == ["influence", "trainexample", "answer", "instruction", "completion", "seed"]
    assert lineage.trace("i7", runs.uri)[0].startswith("influence i7  +0.4 nats, by first_order  [influence-")
    assert [line.split()[:2] for line in lineage.trace("x-chosen", runs.uri)] == [
        ["trainexample", "x-chosen"], ["completion", "c-t7"], ["preference", "p1"], ["completion", "c-t0"],
    ]  # fmt: skip
    assert "preference p1  0.8 nats between the two" in lineage.trace("p1", runs.uri)[0]


def test_what_the_last_teacher_wrote_leaves(fake: Fake, runs: Folder, tmp_path: Path) -> None:
    name = fake("answers_0").folder.name
    with pytest.raises(UserError, match="no finished answers by the teacher after its last round yet"):
        export(name, "alpaca", str(tmp_path / "out.json"), runs.uri)
    fake()
    assert export(name, "alpaca", str(tmp_path / "out.json"), runs.uri).rows == 6
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [row["instruction"] for row in rows] == [task.text for task in SECOND]
    export(name, "hf", str(tmp_path / "set"), runs.uri)
    card = (tmp_path / "set" / "README.md").read_text()
    for words in ("Instructions: new ones by `main`.", "`main` was tuned in 1 round(s)", "| answers_1 | 6 | none |"):
        assert words in card, words
    assert "answers_0" not in card


def test_drops_are_counted_in_the_round_that_they_belong_to(fake: Fake) -> None:
    report = fake().report()
    assert {(row.stage, row.reason) for row in report.dropped} == {("instructions_0", "too short")}
    assert "too short (3 shown of 5, stage instructions\\_0)" in markdown(report)
