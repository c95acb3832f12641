"""The stages in which teachers write data: seeds, instructions, answers. Every method that writes data builds on them.

Knows which settings enter each stage's key. Builds inert stages; starts nothing.
"""

from functools import partial
from typing import Any

from pipelines.core.config import Given, Instructions
from pipelines.core.recipe import DataRecipe
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.generate import filters, given, instructions, seeds
from pipelines.generate.answers import AnswerWork
from pipelines.generate.prompts import InstructionPrompt
from pipelines.generate.teacher import Faculty
from pipelines.generate.work import Work, run_rows


class DataStages:
    """Each method makes one stage out of the recipe. UserError for a file that is not there."""

    def __init__(self, recipe: DataRecipe, faculty: Faculty) -> None:
        self._recipe, self._faculty = recipe, faculty

    def seeds(self) -> Stage:
        recipe = self._recipe
        config = {
            **seeds.content_key(recipe.seeds),
            "held_out": recipe.seeds.held_out,
            "seed": recipe.seed,
            "max_rouge_l": recipe.instructions.max_rouge_l,
        }
        run = partial(seeds.run, recipe.seeds, recipe.seed, recipe.instructions.max_rouge_l)
        return Stage("seeds", 3, config, {}, run)

    def instructions(self, seed: Stage) -> Stage:
        """The tasks to be answered, in the recipe's way."""
        config = self._recipe.instructions
        if isinstance(config, Given):
            return Stage("instructions", 1, {"kind": config.kind}, {"seeds": seed}, given.run)
        return self._rounds(config, seed)

    def answers(self, name: str, source: Stage, teacher: str) -> Stage:
        config = self._recipe.answers
        if name == "references":
            config = config.model_copy(update={"samples": 1})
        content = {**config.model_dump(mode="json", exclude={"teacher"}), "teacher": self._digest(teacher)}

        def run(stage: StageRun) -> Outcome:
            work = AnswerWork(name, config, self._faculty.identity(teacher))
            return self._rows(work, teacher, name, stage)

        estimate = f"{config.samples} each, up to {config.sampling.max_tokens} tokens"
        return Stage(name, 2, content, {"source": source}, run, estimate)

    def _rounds(self, config: Instructions, seed: Stage) -> Stage:
        content = {
            **config.model_dump(mode="json", exclude={"teacher", "max_rounds", "filters", "prompt"}),
            "filters": filters.content_key(config),
            "prompt": InstructionPrompt.load(config.prompt).digest,
            "teacher": self._digest(config.teacher),
            "seed": self._recipe.seed,
        }
        filters.chain(config)  # an unknown filter is the user's mistake, told before anything starts
        run = partial(instructions.run, config, self._faculty, self._recipe.seed)
        return Stage("instructions", 4, content, {"seeds": seed}, run, f"{config.target:,} new instructions")

    def _rows(self, work: Work[Any], teacher: str, name: str, stage: StageRun) -> Outcome:
        return run_rows(work, self._faculty, teacher, name, stage.inputs["source"].folder, stage)

    def _digest(self, teacher: str) -> str:
        return self._faculty.identity(teacher).digest
