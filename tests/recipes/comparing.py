"""A run of the method `compare` in one process: a panel answers and judges, as each test has it say."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from panel import Panel, Says, honest, judging, numbered

from pipelines.core import runner
from pipelines.core.parts import rows_of
from pipelines.core.progress import Progress
from pipelines.core.recipe import Compare, recipe_of
from pipelines.core.runner import Finished
from pipelines.core.stage import Done
from pipelines.core.storage import Folder
from pipelines.recipes import compare
from pipelines.report.judged import Judged, JudgedModel
from pipelines.runs import reporting

FIT = judging(honest, numbered)


def of_eight(model: Path, folder: Path) -> dict[str, Any]:
    """A recipe about eight questions in two categories, one of them with two turns; tests change their own copy."""
    rows = [{"id": f"q{n}", "category": "odd" if n % 2 else "even", "turns": [f"Say {n}."]} for n in range(8)]
    rows[3] |= {"turns": ["Say 3.", "And once more."], "reference": ["3", "3 again"]}
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fake = {"kind": "fake", "model": str(model)}
    return {
        "name": "small",
        "method": "compare",
        "teachers": {name: dict(fake) for name in ("small", "big", "judge")},
        "questions": {"path": str(folder / "mine.jsonl")},
        "answers": {"models": ["small", "big"]},
        "judge": {"teacher": "judge", "baseline": "big", "bootstrap": {"resamples": 200}},
    }


def read(data: dict[str, Any]) -> Compare:
    recipe = recipe_of(data)
    assert isinstance(recipe, Compare)
    return recipe


def answering(good: Sequence[int], padding: int = 0) -> Says:
    """GOOD answers to the questions of these numbers."""

    def says(request: Any) -> str:
        number = int("".join(filter(str.isdigit, (*request.earlier, request.prompt)[0])))
        return f"{'GOOD' if number in good else 'POOR'} {number}{' and so on' * padding}"

    return says


def panel(judge: Says = FIT, small: Says = answering([0, 1, 2]), **how: Any) -> Panel:
    return Panel({"small": small, "big": answering([2, 3]), "judge": judge}, **how)


class Run:
    """One recipe in one runs folder."""

    def __init__(self, recipe: Compare, members: Panel, runs: Folder) -> None:
        self.recipe, self.members, self.runs = recipe, members, runs
        self.stages = compare.stages(recipe, members)
        self.folder = runs.child(runner.run_name(recipe.name, self.stages))
        self.finished: Sequence[Finished] = ()

    def run(self, quiet: Progress) -> "Run":
        self.finished = runner.run(self.stages, self.runs, self.folder, quiet)
        return self

    def rows(self, stage: str, kind: type[Any]) -> list[Any]:
        folder = next(self.runs.child(s.folder_name) for s in self.stages if s.name == stage)
        return list(rows_of(folder, kind))

    def report(self) -> Any:
        return reporting.of_run(self.recipe, self.folder, self.stages)

    def judged(self) -> Judged:
        found = self.report().judged
        assert isinstance(found, Judged)
        return found

    def done(self) -> dict[str, Done]:
        return {each.stage.name: each.done for each in self.finished}

    def model(self, name: str) -> JudgedModel:
        return next(each for each in self.judged().models if each.model == name)
