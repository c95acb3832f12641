"""`method: tinyllm` on real Ray Train and Serve: a fake teacher and a file explain, a tiny encoder-decoder learns.

What a random model of two layers knows of the world is nothing, so no accuracy is asserted: asked is that every task is
learnt, that the questions for testing are answered through the endpoint, and that the run goes on where it was.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.core.parts import rows_of
from pipelines.core.records import ChoiceAnswer, Question, Rationale, TrainExample
from pipelines.core.storage import Folder
from pipelines.runs import api, lineage, reporting, terminal

pytestmark = pytest.mark.engine

TRAIN, TEST = 12, 6


@pytest.fixture(scope="module")
def recipe(model: Path, tiny_t5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("explained")
    rows = [
        {"id": f"q{n}", "question": f"Which is the bridge of town {n}?", "choices": ["old", "new", "long"],
         "answer": ["old", "new", "long"][n % 3], "part": "train" if n < TRAIN else "test"}
        for n in range(TRAIN + TEST)
    ]  # fmt: skip
    (home / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said = [{"id": f"q{n}", "rationale": f"The bridge of town {n} is near the old market."} for n in range(TRAIN - 1)]
    (home / "said.jsonl").write_text("\n".join(map(json.dumps, said)))
    data = {
        "name": "explained",
        "method": "tinyllm",
        "teachers": {"main": {"kind": "fake", "model": str(model)}},
        "data": {"path": str(home / "questions.jsonl")},
        "rationales": {
            "sources": {
                "main": {"kind": "asked", "teacher": "main", "weight": 0.5, "sampling": {"max_tokens": 400}},
                "file": {"kind": "file", "path": str(home / "said.jsonl"), "prefix": "rationale: "},
            },
            "in_context": {"worked": "file"},
            "filters": ["too short"],
        },
        "student": {
            "init": {"kind": "model", "model": str(tiny_t5)},
            "learn": {"template": "bare"},
            "engine": {"dtype": "float32"},
            "train": {
                "normalise": "per_example", "precision": "fp32", "zero_stage": 0, "learning_rate": 0.01,
                "examples_per_step": 4, "epochs": 2,
            },
        },
        "evaluate": {"max_tokens": 8},
    }  # fmt: skip
    file = home / "explained.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return file


@pytest.fixture(scope="module")
def ran(recipe: Path) -> api.Ran:
    return api.run(api.load(recipe), str(recipe.parent / "runs"))


def folder_of(ran: api.Ran, stage: str) -> Folder:
    return next(f.done.folder for f in ran.stages if f.stage.name == stage)


def facts_of(ran: api.Ran, stage: str) -> Any:
    return next(f.done.manifest["facts"] for f in ran.stages if f.stage.name == stage)


def test_every_task_is_learnt_and_told_apart(ran: api.Ran) -> None:
    examples = list(rows_of(folder_of(ran, "examples"), TrainExample))
    kept = list(rows_of(folder_of(ran, "rationales"), Rationale))
    by_component = {c: sum(e.component == c for e in examples) for c in {e.component for e in examples}}
    told = {f"rationale {name}": sum(r.source == name for r in kept) for name in ("main", "file")}
    assert by_component == {"answer": TRAIN, **told}
    assert told["rationale file"] == TRAIN - 1  # the one that is missing is counted, and nothing stands in its place
    curve = facts_of(ran, "student")["loss_curve"]
    assert len(curve) == 2 * TRAIN / 4  # steps of whole questions
    assert set(curve[0]["losses"]) == {"answer", "rationale main", "rationale file"}
    assert sum(curve[-1]["losses"].values()) < sum(curve[0]["losses"].values())


def test_students_are_asked_through_their_endpoints(ran: api.Ran) -> None:
    tested = {q.id for q in rows_of(folder_of(ran, "questions"), Question) if q.part == "test"}
    for stage, model in (("accuracy_before", "student-before"), ("accuracy", "student")):
        answers = list(rows_of(folder_of(ran, stage), ChoiceAnswer))
        assert {a.question_id for a in answers} == tested
        assert {a.model for a in answers} == {model}
        assert all(0 <= a.likeliest < 3 for a in answers)
        assert facts_of(ran, stage)["questions"] == TEST


def test_a_second_run_starts_nothing_and_the_report_tells_accuracy(ran: api.Ran, recipe: Path) -> None:
    again = api.run(api.load(recipe), str(recipe.parent / "runs"))
    assert all(stage.cached for stage in again.stages)
    report: Any = reporting.of_run(again.recipe, again.run_folder, [f.stage for f in again.stages])
    assert [s.model for s in report.choices] == ["student before", "student", "majority class"]
    assert "accuracy" in terminal.summary(report)
    assert {"questions", "rationales_file", "rationales_main", "rationales"} <= {row.label for row in report.funnel}
    assert report.examples


def test_a_rationale_leads_back_to_its_question(ran: api.Ran, recipe: Path) -> None:
    runs = str(recipe.parent / "runs")
    example = next(e for e in rows_of(folder_of(ran, "examples"), TrainExample) if e.component == "rationale main")
    lines = "\n".join(lineage.trace(example.id, runs))
    for record in ("trainexample", "rationale ", "question", "completion"):
        assert record in lines


def test_what_was_trained_on_can_be_exported(ran: api.Ran, recipe: Path, tmp_path: Path) -> None:
    from pipelines.runs import export

    made = export.export(ran.run_folder.name, "messages", str(tmp_path / "out.jsonl"), str(recipe.parent / "runs"))
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    examples = list(rows_of(folder_of(ran, "examples"), TrainExample))
    assert len(rows) == len(examples)
    assert rows[0]["messages"][0]["content"].startswith("predict: Which is the bridge")
    assert made
