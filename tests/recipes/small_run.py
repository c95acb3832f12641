"""A small run that writes data, in this process: what tests of disks, stores and clocks put into trouble.

Knows the method `generate`, its runner, and how two runs are compared. Does not know what goes wrong.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core import parts, runner
from pipelines.core.progress import Progress
from pipelines.core.recipe import Generate, recipe_of
from pipelines.core.records import Answer
from pipelines.core.storage import Folder
from pipelines.recipes import generate

if TYPE_CHECKING:
    from tests.conftest import FakeFaculty

MakeFaculty = Callable[..., "FakeFaculty"]
PROMPTS = [f"Explain thing number {n} to a child." for n in range(40)]  # two shards


def small_recipe(home: Path, teachers: dict[str, Any]) -> Generate:
    """Given prompts, in a file in `home`, and a short answer to each."""
    file = home / "prompts.jsonl"
    file.write_text("".join(json.dumps({"instruction": text}) + "\n" for text in [*PROMPTS, ""]))
    read = recipe_of({
        "name": "small", "method": "generate", "teachers": teachers,
        "seeds": {"tasks": str(file)}, "instructions": {"kind": "given"},
        "answers": {"teacher": "main", "sampling": {"max_tokens": 24}},
    })  # fmt: skip
    assert isinstance(read, Generate)
    return read


class Run:
    """One recipe's run in one runs folder."""

    def __init__(self, recipe: Generate, runs: Folder) -> None:
        self.recipe, self.runs = recipe, runs

    def go(self, faculty: "FakeFaculty", progress: Progress) -> None:
        self.stages = generate.stages(self.recipe, faculty)
        self.folder = self.runs.child(runner.run_name(self.recipe.name, self.stages))
        self.finished = runner.run(self.stages, self.runs, self.folder, progress)

    def digests(self) -> dict[str, str]:
        return {each.stage.folder_name: each.done.manifest["digest"] for each in self.finished}

    def answers(self) -> list[Answer]:
        folder = next(each.done.folder for each in self.finished if each.stage.name == "answers")
        return sorted(parts.rows_of(folder, Answer), key=lambda answer: answer.id)
