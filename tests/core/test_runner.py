"""A toy pipeline of three stages: what runs, what is skipped, and what a run that ended early leaves."""

import io
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from pipelines.core import runner
from pipelines.core.errors import BudgetReached, UserError
from pipelines.core.hashing import key_of
from pipelines.core.progress import Budget, Progress
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.core.storage import Folder


@dataclass
class Toy:
    """words -> longer -> count: each reads its input's `text`, changes it, and writes its own."""

    runs: Folder
    progress: Progress = field(default_factory=lambda: Progress(out=io.StringIO()))
    world: str = "a b"  # what `words` reads, and no key knows
    ran: list[str] = field(default_factory=list)
    trouble: dict[str, BaseException] = field(default_factory=dict)

    @property
    def run_folder(self) -> Folder:
        return self.runs.child("run-toy")

    def stages(self, factor: int = 2, unit: str = "words") -> list[Stage]:
        words = Stage("words", 1, {}, {}, partial(self._do, lambda _: self.world))
        longer = Stage("longer", 1, {"factor": factor}, {"words": words}, partial(self._do, lambda t: f"{t} " * factor))
        count = Stage("count", 1, {"unit": unit}, {"longer": longer}, partial(self._do, lambda t: f"{len(t)} {unit}"))
        return [words, longer, count]

    def _do(self, make: Any, run: StageRun) -> Outcome:
        name = run.folder.name.split("-")[0]
        self.ran.append(name)
        run.progress.begin(name, 2)
        run.folder.child("rows").write_bytes("left", b"half of the work")
        if name in self.trouble:
            raise self.trouble[name]
        source = "".join(done.folder.read_bytes("text").decode() for done in run.inputs.values())
        text = make(source)
        run.folder.write_bytes("text", text.encode())
        run.progress.advance(2, tokens=10)
        return Outcome(2, key_of(text), {"too short": 1}, output_tokens=10)

    def run(self, **config: Any) -> tuple[list[str], list[str]]:
        """Run it: (what ran, what was there)."""
        self.ran.clear()
        finished = runner.run(self.stages(**config), self.runs, self.run_folder, self.progress)
        return list(self.ran), [f.stage.name for f in finished if f.cached]

    def states(self, **config: Any) -> list[str]:
        return [planned.state for planned in runner.plan(self.stages(**config), self.runs)]

    def text(self, number: int) -> str:
        return self.runs.child(self.stages()[number].folder_name).read_bytes("text").decode()


@pytest.fixture
def toy(runs: Folder) -> Toy:
    return Toy(runs)


def test_stages_run_in_order_and_once(toy: Toy) -> None:
    assert toy.states() == ["to do", "to do", "to do"]
    assert toy.run() == (["words", "longer", "count"], [])
    assert [toy.text(n) for n in range(3)] == ["a b", "a b a b ", "8 words"]
    assert toy.states() == ["done", "done", "done"]
    assert toy.run() == ([], ["words", "longer", "count"])


def test_a_changed_setting_reruns_what_it_changes_and_keeps_the_old(toy: Toy) -> None:
    toy.run()
    assert toy.states(unit="letters") == ["done", "done", "to do"]
    assert toy.run(unit="letters") == (["count"], ["words", "longer"])
    assert toy.run(factor=3) == (["longer", "count"], ["words"])
    assert toy.run() == ([], ["words", "longer", "count"])


def test_an_input_whose_content_changed_makes_its_readers_run_again(toy: Toy) -> None:
    toy.run()
    toy.world = "c"
    toy.runs.child(toy.stages()[0].folder_name).delete()
    assert toy.states() == ["to do", "partial", "partial"]
    assert toy.run() == (["words", "longer", "count"], [])
    assert toy.text(2) == "4 words"
    # Made again with the same content, it changes nothing further down.
    toy.runs.child(toy.stages()[0].folder_name).delete()
    assert toy.run() == (["words"], ["longer", "count"])


def test_what_was_begun_is_kept_unless_its_input_changed(toy: Toy) -> None:
    longer = toy.runs.child(toy.stages()[1].folder_name)
    toy.trouble = {"longer": RuntimeError("the engine is gone")}
    with pytest.raises(RuntimeError):
        toy.run()
    longer.child("rows").write_bytes("made-before", b"")
    assert toy.states() == ["done", "partial", "to do"]
    with pytest.raises(RuntimeError):
        toy.run()
    assert longer.child("rows").exists("made-before")
    toy.world, toy.trouble = "c", {}
    toy.runs.child(toy.stages()[0].folder_name).delete()
    toy.run()
    assert not longer.child("rows").exists("made-before")


@pytest.mark.parametrize(
    "error", [RuntimeError("the engine is gone"), KeyboardInterrupt()], ids=lambda e: type(e).__name__
)
def test_a_failure_is_recorded_and_the_next_run_goes_on(toy: Toy, error: BaseException) -> None:
    toy.trouble = {"count": error}
    with pytest.raises(type(error)):
        toy.run()
    status = toy.run_folder.read_json("run.json")
    assert (status["status"], status["at"]) == ("failed", "count")
    assert status["error"].startswith(type(error).__name__)
    toy.trouble = {}
    assert toy.run() == (["count"], ["words", "longer"])
    status = toy.run_folder.read_json("run.json")
    assert status["status"] == "done"
    assert status["stages"] == [stage.folder_name for stage in toy.stages()]


def test_what_ended_a_run_is_told_even_where_it_cannot_be_noted(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Folder.write_json

    def refuse(folder: Folder, name: str, value: Any) -> None:
        if value.get("status") == "failed":
            raise UserError("cannot write run.json")
        write(folder, name, value)

    monkeypatch.setattr(Folder, "write_json", refuse)
    toy.trouble = {"count": RuntimeError("the engine is gone")}
    with pytest.raises(RuntimeError, match="the engine is gone"):
        toy.run()


def test_a_run_that_reached_its_budget_is_stopped_and_goes_on(toy: Toy) -> None:
    toy.progress.budget = Budget(max_tokens=15)
    with pytest.raises(BudgetReached, match="20 tokens"):
        toy.run()
    status = toy.run_folder.read_json("run.json")
    assert (status["status"], status["at"]) == ("stopped", "longer")
    toy.progress.budget = Budget()
    assert toy.run() == (["longer", "count"], ["words"])


def test_a_run_whose_driver_is_told_to_go_is_stopped(toy: Toy) -> None:
    toy.trouble = {"longer": SystemExit(15)}
    with pytest.raises(SystemExit):
        toy.run()
    status = toy.run_folder.read_json("run.json")
    assert (status["status"], status["at"]) == ("stopped", "longer")


def test_a_manifest_says_what_was_made_from_what(toy: Toy) -> None:
    toy.run()
    words, longer = (toy.runs.child(s.folder_name).read_json("manifest.json") for s in toy.stages()[:2])
    assert longer["inputs"] == {"words": {"folder": toy.stages()[0].folder_name, "digest": words["digest"]}}
    assert (longer["stage"], longer["config"], longer["rows"]) == ("longer", {"factor": 2}, 2)
    assert (longer["dropped"], longer["output_tokens"]) == ({"too short": 1}, 10)


def test_the_line_of_a_stage_that_fails_is_ended(toy: Toy) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    toy.progress = Progress(out=shown)
    toy.trouble = {"longer": UserError("the seeds are too few")}
    with pytest.raises(UserError):
        toy.run()
    assert shown.getvalue().endswith("\n")


def test_a_run_is_named_by_its_recipe_and_its_stages(toy: Toy) -> None:
    name = runner.run_name("toy", toy.stages())
    assert name.startswith("run-toy-")
    assert name == runner.run_name("toy", toy.stages())
    assert name != runner.run_name("toy", toy.stages(unit="letters"))


def test_a_runs_folder_that_cannot_be_written_is_refused_with_a_way_out(runs: Folder) -> None:
    runner.ready_folder(runs)
    assert runs.files() == []
    runs.write_bytes("file", b"in the way")
    with pytest.raises(UserError, match="--runs"):
        runner.ready_folder(Folder(f"{runs.uri}/file/runs"))
