"""A teacher behind an API in the method distil: it writes the references and is evaluated beside the students.

The stages as the recipe builds them; one server plays the API and the students' endpoint. No Ray starts.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, Asked, Wire, says

from pipelines.core import runner
from pipelines.core.parts import rows_of
from pipelines.core.progress import Progress
from pipelines.core.recipe import Distil, recipe_of
from pipelines.core.records import Answer, EvalAnswer
from pipelines.core.stage import Done, Stage, StageRun
from pipelines.core.storage import Folder
from pipelines.recipes import distil
from serving.faculty import ClusterFaculty
from serving.served import Served

HELD_OUT = 3


@dataclass
class OneServer:
    """Endpoints that are there already (see endpoints.Endpoints)."""

    url: str
    in_turns: bool = False
    up: list[str] = field(default_factory=list)
    started: list[list[str]] = field(default_factory=list)

    def start(self, models: list[Served]) -> str:
        self.up = [model.name for model in models]
        self.started.append(self.up)
        return self.url

    def make_way(self) -> None:
        assert not self.up

    def wait(self, base_url: str) -> None:
        assert base_url == self.url

    def down(self, base_url: str) -> None:
        self.up = []


def behave(asked: Asked) -> Wire:
    if asked.body.get("prompt_logprobs") is not None:
        return says("x", prompt_logprobs=[None, *({str(t): {"logprob": -0.5}} for t in asked.prompt[1:])])
    return says("Deep blue." if asked.body["model"] == "big-1" else "Deep red.")


@pytest.fixture
def recipe(server: ApiServer, model: Path, tmp_path: Path) -> Distil:
    server.behave = behave
    tasks = [{"instruction": f"Name a colour of the {n} seas.", "instances": []} for n in ("warm", "cold", "far")]
    tasks += [{"instruction": f"Spell {word} backwards.", "instances": []} for word in ("ink", "oak", "ash", "elm")]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    made = recipe_of({
        "name": "small", "method": "distil", "instructions": {"kind": "given", "max_rouge_l": 1.0},
        "seeds": {"tasks": str(tmp_path / "tasks.jsonl"), "held_out": HELD_OUT},
        "teachers": {"big": {"kind": "http", "base_url": server.url, "model": "big-1", "retries": 0}},
        "answers": {"teacher": "big"}, "evaluate": {"teacher": "big"},
        "student": {"init": {"kind": "model", "model": str(model)}, "train": {"losses": {"answer": 1.0}}},
    })  # fmt: skip
    assert isinstance(made, Distil)
    return made


def build(recipe: Distil, server: ApiServer, endpoints: OneServer | None = None) -> dict[str, Stage]:
    faculty = ClusterFaculty(recipe)
    faculty.__dict__["endpoints"] = endpoints or OneServer(server.url)
    return {stage.name: stage for stage in distil.stages(recipe, faculty)}


def evaluated(stages: dict[str, Stage], runs: Folder, quiet: Progress, model: Path, run: str) -> tuple[Any, Folder]:
    """References by the API, then the evaluation of it and of two students."""
    first = [stages[name] for name in ("seeds", "instructions", "held_out", "references")]
    done = {f.stage.name: f.done for f in runner.run(first, runs, runs.child("run"), quiet)}
    student = Done(runs.child("student"), {"digest": "s", "facts": {"model": str(model)}})
    inputs = {"references": done["references"], "init": student, "student": student}
    folder = runs.child(run)
    return stages["evaluate"].run(StageRun(folder, inputs, runs, quiet)), folder


def test_it_writes_references_and_is_examined_without_a_likelihood(
    recipe: Distil, server: ApiServer, runs: Folder, quiet: Progress, model: Path
) -> None:
    stages = build(recipe, server)
    outcome, folder = evaluated(stages, runs, quiet, model, "evaluate")
    references = list(rows_of(runs.child(stages["references"].folder_name), Answer))
    assert [r.text for r in references] == ["Deep blue."] * HELD_OUT
    answers = list(rows_of(folder, EvalAnswer))
    assert [a.model for a in answers] == [m for m in ("teacher", "student-before", "student") for _ in range(HELD_OUT)]
    assert {(a.model, a.reference_tokens > 0, a.rouge_l) for a in answers} == {
        ("teacher", False, 1.0), ("student-before", True, 0.5), ("student", True, 0.5),
    }  # fmt: skip
    assert outcome.facts["gap_closed"] is None
    assert outcome.facts["parameters"]["teacher"] is None


def test_students_are_served_one_after_the_other_where_there_is_room_for_one(
    recipe: Distil, server: ApiServer, runs: Folder, quiet: Progress, model: Path
) -> None:
    together, in_turns = OneServer(server.url), OneServer(server.url, in_turns=True)
    one, _ = evaluated(build(recipe, server, together), runs, quiet, model, "evaluate-together")
    other, _ = evaluated(build(recipe, server, in_turns), runs, quiet, model, "evaluate-in-turns")
    assert together.started == [["student-before", "student"]]
    assert in_turns.started == [["student-before"], ["student"]]
    assert in_turns.up == []
    assert one.digest == other.digest


def test_another_student_buys_nothing_of_it_again(
    recipe: Distil, server: ApiServer, runs: Folder, quiet: Progress, model: Path
) -> None:
    evaluated(build(recipe, server), runs, quiet, model, "evaluate")
    assert sum(a.body["model"] == "big-1" for a in server.asked) == 2 * HELD_OUT  # references, and its own answers
    server.asked.clear()
    _, folder = evaluated(build(recipe, server), runs, quiet, model, "evaluate-again")
    assert {a.body["model"] for a in server.asked} == {"student-before", "student"}
    assert len(list(rows_of(folder, EvalAnswer))) == 3 * HELD_OUT
