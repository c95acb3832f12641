"""The stages in which teachers write data: seeds, instructions, answers. Every method that writes data builds on them.

Knows which settings enter each stage's key. Builds inert stages; starts nothing.
"""

from functools import partial
from typing import Any

from pydantic import BaseModel

from pipelines.core.config import Answers, Evolved, Given, Instances, Instructions
from pipelines.core.errors import UserError
from pipelines.core.plugins import content_key
from pipelines.core.recipe import DataRecipe
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.generate import evolved, filters, given, held_out, instructions, own_answers, quality, seeds
from pipelines.generate.answers import AnswerWork
from pipelines.generate.evolved import EvolveWork
from pipelines.generate.faculty import run_rows
from pipelines.generate.instances import InstanceWork, TaskTypeWork
from pipelines.generate.prompts import InstructionPrompt, Prompt
from pipelines.generate.work import Work
from pipelines.recipes import writers
from pipelines.recipes.writers import Writer
from serving.faculty import ClusterFaculty


class DataStages:
    """Each method makes one stage out of the recipe. UserError for a file that is not there."""

    def __init__(self, recipe: DataRecipe, faculty: ClusterFaculty) -> None:
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
        return Stage("seeds", 4, config, {}, run)

    def tasks(self, seed: Stage) -> list[Stage]:
        """The stages from the seeds to the tasks that are answered, which the last of them holds."""
        config, written = self._recipe.instances, self._instructions(seed)
        return written if config is None else [*written, *self._instances(config, written[-1])]

    def held_out(self, seed: Stage, pool: Stage) -> Stage:
        """The tasks that are kept for evaluation, apart from all in the pool."""
        max_rouge_l = self._recipe.instructions.max_rouge_l
        config = {"max_rouge_l": max_rouge_l}
        return Stage("held_out", 3, config, {"seeds": seed, "pool": pool}, partial(held_out.run, max_rouge_l))

    def answers(self, source: Stage) -> Stage:
        """The answers to the tasks, in the recipe's way."""
        config = self._recipe.answers
        if isinstance(config, Answers):
            return self.asked("answers", config, source)
        self._check_own_answers()
        content = config.model_dump(mode="json")
        return Stage("answers", 1, content, {"source": source}, partial(own_answers.run, config), "the tasks' own")

    def asked(self, name: str, config: Answers, source: Stage, by: Writer | None = None, kind: str = "") -> Stage:
        """Answers by a chat teacher: the section's, or `by` somebody else."""
        quality.chain(config.filters)  # an unknown filter is the user's mistake, told before anything starts
        writer = by or writers.of_recipe(self._faculty, config.teacher)
        content = {
            **config.model_dump(mode="json", exclude={"teacher", "filters"}),
            "filters": content_key(config.filters),
            **writer.settings,
        }

        def run(stage: StageRun) -> Outcome:
            with writer.present(stage):
                work = AnswerWork(name, config, self._faculty.identity(writer.name))
                return self._rows(work, writer.name, name, stage)

        estimate = f"{config.samples} each, up to {config.sampling.max_tokens} tokens"
        return Stage(name, 3, content, {"source": source, **writer.inputs}, run, estimate, kind)

    def _instructions(self, seed: Stage) -> list[Stage]:
        config = self._recipe.instructions
        if isinstance(config, Given):
            return [Stage("instructions", 1, {"kind": config.kind}, {"seeds": seed}, given.run)]
        filters.chain(config)  # an unknown filter is the user's mistake, told before anything starts
        return [self.rounds(config, seed)] if isinstance(config, Instructions) else self._evolved(config, seed)

    def rounds(self, config: Instructions, seed: Stage, by: Writer | None = None, name: str = "instructions") -> Stage:
        """New instructions by the section's teacher, or `by` somebody else."""
        writer = by or writers.of_recipe(self._faculty, config.teacher)
        content = {
            **config.model_dump(mode="json", exclude={"teacher", "max_rounds", "filters", "prompt"}),
            "filters": content_key(config.filters),
            "prompt": InstructionPrompt.load(config.prompt).digest,
            **writer.settings,
            "seed": self._recipe.seed,
        }
        asked = config.model_copy(update={"teacher": writer.name})

        def run(stage: StageRun) -> Outcome:
            with writer.present(stage):
                return instructions.run(asked, self._faculty, self._recipe.seed, stage)

        inputs, estimate = {"seeds": seed, **writer.inputs}, f"{config.target:,} new instructions"
        return Stage(name, 5, content, inputs, run, estimate, "instructions")

    def _evolved(self, config: Evolved, seed: Stage) -> list[Stage]:
        """Generations, each rewriting the one before, and all of them together."""
        generations = [seed]
        for number in range(1, config.generations + 1):
            generations.append(self._generation(config, number, generations[-1]))
        content = {
            **_plain(config, "kind", "min_words", "max_words", "max_rouge_l"),
            "filters": content_key(config.filters),
        }
        inputs = {stage.name: stage for stage in generations}
        return [*generations[1:], Stage("instructions", 2, content, inputs, partial(evolved.gather, config))]

    def _generation(self, config: Evolved, number: int, source: Stage) -> Stage:
        name = f"evolved_{number}"
        prompts = tuple(Prompt.load(way, "instructions.ways", ["task"]) for way in config.ways)
        content = {
            **_plain(config, "sampling", "max_rouge_l_with_parent"),
            "prompts": [prompt.digest for prompt in prompts],
            "teacher": self._digest(config.teacher),
        }

        def run(stage: StageRun) -> Outcome:
            work = EvolveWork(name, self._faculty.identity(config.teacher), config, prompts)
            return self._rows(work, config.teacher, name, stage)

        return Stage(name, 2, content, {"source": source}, run, "one rewriting each")

    def _instances(self, config: Instances, source: Stage) -> list[Stage]:
        """Passes 2 to 4 of Self-Instruct."""
        type_prompt = Prompt.load(config.task_type_prompt, "instances.task_type_prompt", ["task"])
        input_first = Prompt.load(config.input_first_prompt, "instances.input_first_prompt", ["task"])
        output_first = Prompt.load(config.output_first_prompt, "instances.output_first_prompt", ["task"])
        teacher = self._digest(config.teacher)

        def run_types(stage: StageRun) -> Outcome:
            work = TaskTypeWork(self._faculty.identity(config.teacher), config, type_prompt)
            return self._rows(work, config.teacher, "task_types", stage)

        def run_instances(stage: StageRun) -> Outcome:
            identity = self._faculty.identity(config.teacher)
            work = InstanceWork("instances", identity, config, input_first, output_first)
            return self._rows(work, config.teacher, "instances", stage)

        asked = {"teacher": teacher, "prompt": type_prompt.digest, **_plain(config, "task_type_sampling")}
        types = Stage("task_types", 1, asked, {"source": source}, run_types, "one yes or no each")
        prompts = {"input_first": input_first.digest, "output_first": output_first.digest}
        asked = {"teacher": teacher, **prompts, **_plain(config, "sampling", "most")}
        estimate = f"up to {config.most} examples each, in {config.sampling.max_tokens} tokens"
        return [types, Stage("instances", 1, asked, {"source": types}, run_instances, estimate)]

    def _check_own_answers(self) -> None:
        """UserError where no task could have an answer of its own but the seeds."""
        config = self._recipe.instructions
        if self._recipe.instances is not None or isinstance(config, Given):
            return
        if isinstance(config, Evolved) or InstructionPrompt.load(config.prompt).shape != "triples":
            raise UserError(
                "answers.kind: 'own', but the new instructions come without answers; take instructions.prompt: "
                "'triples', add a section `instances`, or let a teacher answer (kind: chat)"
            )

    def _rows(self, work: Work[Any], teacher: str, name: str, stage: StageRun) -> Outcome:
        return run_rows(work, self._faculty, teacher, name, stage.inputs["source"].folder, stage)

    def _digest(self, teacher: str) -> str:
        return self._faculty.identity(teacher).digest


def _plain(config: BaseModel, *names: str) -> dict[str, Any]:
    """Some settings as they enter a key."""
    return config.model_dump(mode="json", include=set(names))
