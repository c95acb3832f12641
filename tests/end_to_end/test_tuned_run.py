"""`method: tune` on real Ray Train and DeepSpeed: two sources, two teachers, a tiny student; and one with an encoder.

The teachers are fakes, whose distributions mean nothing; what is asked here is that each row meets its own teacher's,
that the run goes on where it was, and that the report says what was measured.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.core.parts import rows_of
from pipelines.core.records import HeldOutLoss, SoftTargets, TrainExample
from pipelines.core.storage import Folder
from pipelines.runs import api, lineage, reporting, terminal

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def recipe(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("tune")
    rows = [{"instruction": f"Sell item {n}.", "input": "", "output": f"It is sold for {n} coins."} for n in range(24)]
    (home / "shop.jsonl").write_text("\n".join(map(json.dumps, rows)))
    teacher = {"kind": "fake", "model": str(tiny_llama)}
    data = {
        "name": "tuned",
        "method": "tune",
        "teachers": {"expert": teacher, "reference": {**teacher, "latency_s": 0.001}},
        "data": {
            "sources": {"shop": {"path": str(home / "shop.jsonl")}, "general": {"limit": 24}},
            "held_out": 4,
        },
        "student": {
            "init": {"kind": "model", "model": str(tiny_llama)},
            "learn": {"template": "tulu", "too_long": "cut"},
            "signals": {"shop": "expert", "general": "reference"},
            "train": {
                "losses": {"answer": 1.0, "kd": 0.5}, "top_k": 4, "precision": "fp32", "zero_stage": 0,
                "learning_rate": 0.01, "examples_per_step": 4, "max_length": 256, "epochs": 2,
            },
        },
    }  # fmt: skip
    file = home / "tuned.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return file


@pytest.fixture(scope="module")
def ran(recipe: Path) -> api.Ran:
    return api.run(api.load(recipe), str(recipe.parent / "runs"))


def folder_of(ran: api.Ran, stage: str) -> Folder:
    return next(f.done.folder for f in ran.stages if f.stage.name == stage)


def test_each_row_met_its_own_teacher(ran: api.Ran) -> None:
    source = {e.id: e.source for e in rows_of(folder_of(ran, "examples"), TrainExample)}
    for teacher, own in (("expert", "shop"), ("reference", "general")):
        met = {source[s.example_id] for s in rows_of(folder_of(ran, f"soft_targets_{teacher}"), SoftTargets)}
        assert met == {own}
    assert set(source.values()) == {"shop", "general"}


def test_the_student_learnt_and_speaks_its_template(ran: api.Ran, tiny_llama: Path) -> None:
    losses: dict[str, list[float]] = {}
    for row in rows_of(folder_of(ran, "held_out_loss"), HeldOutLoss):
        losses.setdefault(row.model, []).append(row.nll / row.tokens)
    assert set(losses) == {"student-before", "student", "teacher expert", "teacher reference"}
    assert sum(losses["student"]) < sum(losses["student-before"])
    assert losses["teacher expert"] == losses["student-before"]  # the same weights
    model = folder_of(ran, "student").local_path() / "model"
    assert "<|assistant|>" in (model / "chat_template.jinja").read_text()
    assert (tiny_llama / "chat_template.jinja").read_text() != (model / "chat_template.jinja").read_text()


def test_a_second_run_starts_nothing_and_the_report_tells_by_source(ran: api.Ran, recipe: Path) -> None:
    again = api.run(api.load(recipe), str(recipe.parent / "runs"))
    assert all(stage.cached for stage in again.stages)
    report: Any = reporting.of_run(again.recipe, again.run_folder, [f.stage for f in again.stages])
    assert [s.model for s in report.scores][:2] == ["student before on shop", "student on shop"]
    assert len(report.scores) == 2 * 4
    assert "student on general" in terminal.summary(report)
    id = next(iter(rows_of(folder_of(ran, "soft_targets_expert"), SoftTargets))).id
    assert "trainexample" in lineage.trace(id, str(recipe.parent / "runs"))[1]


def test_an_encoder_decoder_learns_and_is_left_as_a_plain_model(recipe: Path, tiny_t5: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    data = yaml.safe_load(recipe.read_text())
    del data["teachers"], data["data"]["sources"]["general"]
    train = {**data["student"]["train"], "losses": {"answer": 1.0}}
    start = {"kind": "model", "model": str(tiny_t5)}
    data |= {"name": "two-sides", "student": {"init": start, "learn": {"template": "bare"}, "train": train}}
    file = recipe.with_name("two-sides.yaml")
    file.write_text(yaml.safe_dump(data))
    made = api.run(api.load(file), str(recipe.parent / "runs"))
    losses: dict[str, float] = {}
    for row in rows_of(folder_of(made, "held_out_loss"), HeldOutLoss):
        losses[row.model] = losses.get(row.model, 0.0) + row.nll
    assert losses["student"] < 0.9 * losses["student-before"]
    folder = folder_of(made, "student").local_path() / "model"
    assert "AutoModelForSeq2SeqLM" in (folder / "README.md").read_text()
    stages = ("examples", "held_out_examples")
    shown = {e.encoder_ids for stage in stages for e in rows_of(folder_of(made, stage), TrainExample)}
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    asked = tokenizer.apply_chat_template([{"role": "user", "content": "Sell item 3."}], tokenize=False)
    read = tokenizer(asked, return_tensors="pt").input_ids
    assert tuple(read[0].tolist()) in shown
    assert tokenizer.decode(model.generate(read, max_new_tokens=12)[0], skip_special_tokens=True)
    report: Any = reporting.of_run(made.recipe, made.run_folder, [f.stage for f in made.stages])
    assert [s.model for s in report.scores] == ["student before", "student"]
