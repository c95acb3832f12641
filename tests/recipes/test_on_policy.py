"""Rounds of a student's own answers: their stages and keys, what a killed round costs, and who reads what they leave.

Whole runs without an engine: the fake teacher answers in the student's place, and training is pretended.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.core import runner
from pipelines.core.builtin import SEED_TASKS
from pipelines.core.config import FakeTeacher as FakeSpec
from pipelines.core.config import Train, VLLMTeacher
from pipelines.core.lock import LOCKS
from pipelines.core.parts import dropped_of, rows_of
from pipelines.core.progress import Progress
from pipelines.core.recipe import Distil, recipe_of
from pipelines.core.records import Answer, Completion, Instruction, SoftTargets, TrainExample
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.core.storage import Folder
from pipelines.generate.fake import FakeTeacher
from pipelines.generate.teacher import Request
from pipelines.recipes import distil
from pipelines.report.markdown import markdown
from pipelines.report.page import html
from pipelines.runs import export, lineage, reporting, shelf, terminal
from pipelines.train import student
from pipelines.train.card import CARD
from serving.faculty import ClusterFaculty

ROUND = ["tasks", "own_answers", "examples", "soft_targets"]
TASKS, HELD_OUT, EACH = 40, 8, 10


class Lending(ClusterFaculty):
    """Where a fake answers for the student."""

    @contextmanager
    def lent(self, name: str, spec: VLLMTeacher) -> Iterator[None]:
        fake: Any = FakeSpec(kind="fake", model=spec.model)
        with super().lent(name, fake):
            yield


@pytest.fixture
def data(recipe_data: dict[str, Any], model: Path, tmp_path: Path) -> dict[str, Any]:
    """A recipe of two rounds on given tasks; tests change their own copy."""
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text("".join(SEED_TASKS.read_text().splitlines(keepends=True)[:TASKS]))
    return {
        **recipe_data,
        "seeds": {"tasks": str(tasks), "held_out": HELD_OUT},
        "instructions": {"kind": "given"},
        "student": {
            "init": {"kind": "model", "model": str(model)},
            "signals": "main",
            "train": {"losses": {"answer": 1.0}},
            "on_policy": {"rounds": 2, "tasks": EACH, "sampling": {"max_tokens": 40}, "train": {"top_k": 4}},
        },
    }


def read(data: dict[str, Any], **on_policy: Any) -> Distil:
    section = data["student"]["on_policy"] | on_policy
    recipe = recipe_of({**data, "student": data["student"] | {"on_policy": section}})
    assert isinstance(recipe, Distil)
    return recipe


def stages(recipe: Distil) -> dict[str, Stage]:
    return {stage.name: stage for stage in distil.stages(recipe, Lending(recipe))}


def test_each_round_goes_on_from_the_student_that_the_one_before_left(data: dict[str, Any]) -> None:
    made = stages(read(data))
    rounds = [[f"{name}_{n}" for name in ROUND] for n in (1, 2)]
    assert list(made)[-13:] == ["student_init", "student_0", *rounds[0], "student_1", *rounds[1], "student", "evaluate"]
    assert made["evaluate"].inputs["student"] == made["student"]
    assert made["evaluate"].inputs["init"] == made["student_init"]
    assert made["own_answers_2"].inputs == {"source": made["tasks_2"], "writer": made["student_1"]}
    assert made["student"].inputs == {
        "examples": made["examples_2"], "init": made["student_1"], "soft_targets_2": made["soft_targets_2"],
    }  # fmt: skip
    assert made["tasks_1"].inputs["source"] == made["answers"].inputs["source"]
    assert "soft_targets" not in made  # the first training has no use for them


def test_a_teacher_beside_the_student_needs_no_capture(data: dict[str, Any]) -> None:
    data["teachers"]["main"] = {"kind": "vllm", "model": data["teachers"]["main"]["model"]}
    made = stages(read(data, train={"kd": {"source": "online", "divergence": "reverse"}}))
    assert not [name for name in made if name.startswith("soft_targets")]
    assert (made["student_0"].config["teacher"], bool(made["student"].config["teacher"])) == (None, True)


def test_more_rounds_go_on_where_fewer_ended(data: dict[str, Any]) -> None:
    one, two = stages(read(data, rounds=1)), stages(read(data, rounds=2))
    shared = [f"{name}_1" for name in ROUND] + ["student_0"]
    assert [one[name].folder_name for name in shared] == [two[name].folder_name for name in shared]
    assert one["student"].folder_name == two["student_1"].folder_name
    assert two["student"].folder_name != one["student"].folder_name


def test_rounds_start_from_a_student_that_a_run_without_them_left(data: dict[str, Any]) -> None:
    after = stages(read(data))
    del data["student"]["on_policy"]
    before = stages(recipe_of(data))
    assert before["student"].folder_name == after["student_0"].folder_name
    assert before["student"].name != after["student_0"].name


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({"tasks": 9}, "tasks_1"),
        ({"sampling": {"max_tokens": 41}}, "own_answers_1"),
        ({"train": {"top_k": 5}}, "soft_targets_1"),
        ({"train": {"top_k": 4, "kd": {"divergence": "reverse"}}}, "student_1"),
    ],
)
def test_a_setting_makes_anew_only_what_it_changes(data: dict[str, Any], change: dict[str, Any], first: str) -> None:
    before, after = stages(read(data)), stages(read(data, **change))
    changed = [name for name in before if before[name].key != after[name].key]
    assert changed[0] == first
    assert list(before).index(first) + len(changed) <= len(before)


def test_how_wide_the_pool_is_makes_nothing_anew_and_a_number_format_does(data: dict[str, Any]) -> None:
    before, wide = stages(read(data)), stages(read(data, pool={"max": 8}))
    assert all(before[name].key == wide[name].key for name in before)
    data["student"]["engine"] = {"dtype": "float16"}
    assert stages(read(data))["own_answers_1"].key != before["own_answers_1"].key


def completions(runs: Folder) -> Iterator[Completion]:
    """All that anyone said."""
    for book in (runs.child(name) for name in runs.folders() if name.startswith("replies-")):
        for part in book.files(".parquet"):
            yield from book.read_records(part, Completion)


class Ran:
    """A run but for its evaluation."""

    def __init__(self, recipe: Distil, runs: Folder, quiet: Progress) -> None:
        self.recipe, self.runs = recipe, runs
        self.stages = [s for s in distil.stages(recipe, Lending(recipe, say=quiet.note)) if s.name != "evaluate"]
        self.folder = runs.child(runner.run_name(recipe.name, self.stages))
        self.folder.write_json("recipe.yaml", recipe.model_dump(mode="json"))  # JSON is YAML
        self.finished = runner.run(self.stages, runs, self.folder, quiet)

    def made(self, stage: str) -> Folder:
        return next(f.done.folder for f in self.finished if f.stage.name == stage)

    def answers(self, stage: str) -> list[Answer]:
        return list(rows_of(self.made(stage), Answer))

    def report(self) -> Any:
        return reporting.of_run(self.recipe, self.folder, self.stages)


@pytest.fixture
def go(runs: Folder, quiet: Progress, model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Distil], Ran]:
    def pretend(config: Train, seed: int, first: Path, open_session: Any, run: StageRun, *more: Any) -> Outcome:
        """A student whose weights are the name of its stage, and a curve of two steps."""
        out = run.folder.local_path() / "model"
        out.mkdir()
        for file in model.iterdir():
            (out / file.name).write_bytes(file.read_bytes())
        (out / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}" + run.folder.name.encode())
        curve = [
            {"step": n, "tokens": 50, "losses": dict.fromkeys(config.losses, 1 / n), "learning_rate": 0.1}
            for n in (1, 2)
        ]
        return Outcome(1, run.folder.name, facts={"loss_curve": curve, "tokens": 100, "steps": 2})

    monkeypatch.setattr(student, "run_train", pretend)
    return lambda recipe: Ran(recipe, runs, quiet)


def test_what_a_student_says_is_learnt_token_by_token(data: dict[str, Any], go: Callable[[Distil], Ran]) -> None:
    ran = go(read(data))
    held_out = {task.id for task in rows_of(ran.made("held_out"), Instruction)}
    drawn = [{task.id for task in rows_of(ran.made(f"tasks_{n}"), Instruction)} for n in (1, 2)]
    assert [len(ids) for ids in drawn] == [EACH, EACH]
    assert drawn[0].isdisjoint(drawn[1])
    assert held_out.isdisjoint(drawn[0] | drawn[1])
    for n in (1, 2):
        assert {a.instruction_id for a in ran.answers(f"own_answers_{n}")} == drawn[n - 1]
        examples = list(rows_of(ran.made(f"examples_{n}"), TrainExample))
        replies = {c.id: c.token_ids for c in completions(ran.runs)}
        said = {a.id: replies[a.completion_id] for a in ran.answers(f"own_answers_{n}")}
        judged = {s.example_id: s for s in rows_of(ran.made(f"soft_targets_{n}"), SoftTargets)}
        for example in examples:
            weighted = tuple(t for t, weight in enumerate(example.weights) if weight > 0)
            assert judged[example.id].positions == weighted
            assert tuple(example.token_ids[t] for t in weighted) == said[example.answer_id]
            assert example.lineage == example.instruction_id


def test_an_answer_without_words_is_dropped_and_loops_are_kept(
    data: dict[str, Any], go: Callable[[Distil], Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, mute = FakeTeacher.write, []

    async def says(self: FakeTeacher, request: Request) -> Completion:
        said = await write(self, request)
        if request.sampling.max_tokens != 40:  # a teacher's answer
            return said
        mute.append(request.id)
        return replace(said, text=" " if len(mute) == 1 else "and so on " * 9, finish_reason="stop")

    monkeypatch.setattr(FakeTeacher, "write", says)
    ran = go(read(data, rounds=1))
    assert len(ran.answers("own_answers_1")) == EACH - 1
    assert [d.reason for d in dropped_of(ran.made("own_answers_1"))] == ["empty answer"]
    (row,) = ran.report().rounds
    assert (row.answers, row.cut_off) == (EACH - 1, 0)
    assert row.repeated_3grams > 0.8


def test_a_killed_round_goes_on_and_asks_nothing_twice(
    data: dict[str, Any], go: Callable[[Distil], Ran], runs: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = FakeTeacher.write
    asked: list[str] = []
    lives = {"left": 15}  # the first round and half of the second

    async def dies(self: FakeTeacher, request: Request) -> Completion:
        if request.sampling.max_tokens == 40:
            if not lives["left"]:
                raise ConnectionError("the engine is gone")
            lives["left"] -= 1
            asked.append(request.id)
        return await write(self, request)

    monkeypatch.setattr(FakeTeacher, "write", dies)
    with pytest.raises(ConnectionError):
        go(read(data))
    lives["left"] = 1000
    ran = go(read(data))
    assert len(asked) == len(set(asked)) == 2 * EACH
    calm = {a.id for n in (1, 2) for a in ran.answers(f"own_answers_{n}")}
    assert len(calm) == 2 * EACH
    assert len({c.model for c in completions(runs)}) == 3  # the teacher, and two students


def test_the_report_tells_of_each_round(data: dict[str, Any], go: Callable[[Distil], Ran]) -> None:
    report = go(read(data)).report()
    assert [(r.round, r.answers, r.kd) for r in report.rounds] == [(1, EACH, 0.75), (2, EACH, 0.75)]
    assert [(p.step, p.tokens, set(p.components)) for p in report.loss_curve] == [
        (1, 50, {"answer"}), (2, 100, {"answer"}), (3, 150, {"kd, own answers"}), (4, 200, {"kd, own answers"}),
        (5, 250, {"kd, own answers"}), (6, 300, {"kd, own answers"}),
    ]  # fmt: skip
    labels = [step.label for step in report.funnel]
    assert labels[-4:] == ["own_answers_1", "examples_1", "own_answers_2", "examples_2"]
    assert {(t.teacher, t.stage) for t in report.teachers} >= {("student", "own_answers_1"), ("main", "soft_targets_1")}
    assert [h.value for h in report.headline if h.label == "trained on"] == ["300"]
    for shown in (markdown(report), html(report)):
        assert "Nats per token from the teacher" in shown
    assert "round 2: 10 own answers of" in terminal.summary(report)


def test_a_card_names_all_that_a_student_learnt(data: dict[str, Any], go: Callable[[Distil], Ran]) -> None:
    ran = go(read(data))
    text = (ran.made("student").local_path() / "model" / CARD).read_text()
    places = [text.index(f"`{ran.made(name).name}`") for name in ("examples", "examples_1", "examples_2")]
    assert places == sorted(places)
    assert "the student's own answers" in text
    plain = (ran.made("student_0").local_path() / "model" / CARD).read_text()
    assert "own answers" not in plain


def test_an_own_answer_leads_back_to_its_seed_and_does_not_leave_with_the_data(
    data: dict[str, Any], go: Callable[[Distil], Ran], runs: Folder, tmp_path: Path
) -> None:
    ran = go(read(data))
    own = ran.answers("own_answers_2")[0]
    traced = lineage.trace(own.id, runs.uri)
    assert traced[0].startswith(f"answer {own.id}")
    assert any("completion" in line for line in traced)
    assert any(line.strip().startswith("seed ") for line in traced)
    written = export.export(ran.folder.uri, "messages", str(tmp_path / "out.jsonl"), runs.uri)
    assert (
        written.rows == len(ran.answers("answers")) == TASKS - HELD_OUT - len(ran.finished[0].done.manifest["dropped"])
    )
    said = (tmp_path / "out.jsonl").read_text()
    assert json.dumps(ran.answers("answers")[0].text)[1:-1] in said


def test_removing_a_run_frees_what_its_students_said(
    data: dict[str, Any], go: Callable[[Distil], Ran], runs: Folder
) -> None:
    one, two = go(read(data, rounds=1)), go(read(data))
    shelf.remove(two.folder.name, runs.uri)
    assert len([name for name in runs.folders() if name.startswith("replies-")]) == 2  # the teacher's, round 1's
    assert go(read(data, rounds=1)).answers("own_answers_1") == one.answers("own_answers_1")
    shelf.remove(one.folder.name, runs.uri)
    assert runs.folders() == [LOCKS]
