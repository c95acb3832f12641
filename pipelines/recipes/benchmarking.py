"""The stages in which models are put to benchmarks: what an endpoint must show first, and the benchmarks themselves.

    benchmark_check_MODEL ─► benchmark_MODEL

Knows which settings enter each stage's key, and when an endpoint ends the run. Builds inert stages; starts nothing.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipelines.benchmark import check, known_answers, tasks
from pipelines.benchmark.asker import Asker
from pipelines.benchmark.known_answers import Finding
from pipelines.core.config import Benchmarks, HTTPTeacher, VLLMTeacher
from pipelines.core.errors import UserError
from pipelines.core.hashing import rows_digest
from pipelines.core.parts import Shard, has_shard, summary, totals, write_shard
from pipelines.core.recipe import Compare
from pipelines.core.records import BenchmarkAnswer
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.generate.teacher import RequestFailed
from pipelines.generate.usage import Usage
from serving.faculty import ClusterFaculty

CHECK, BENCHMARK = "benchmark_check_", "benchmark_"  # and the model's name
FIGURES = "figures"


class BenchmarkStages:
    """Every model that is compared, and the tasks."""

    def __init__(self, recipe: Compare, config: Benchmarks, faculty: ClusterFaculty) -> None:
        self._recipe, self._config, self._faculty = recipe, config, faculty
        self._version = tasks.harness_version()

    def checks(self) -> dict[str, Stage]:
        """By model. An endpoint that fails leaves no finished stage, so it is looked at anew once it is mended."""
        return {model: self._checked(model) for model in self._recipe.answers.models}

    def measured(self, checks: Mapping[str, Stage]) -> list[Stage]:
        return [self._measured(model, its) for model, its in checks.items()]

    def _checked(self, model: str) -> Stage:
        config = self._config

        def run(stage: StageRun) -> Outcome:
            stage.progress.begin(f"{CHECK}{model}", 1, 0, unit="endpoint")
            found = asyncio.run(self._look(model))
            if faults := [f"{each.check}: {each.fault}" for each in found if each.fault]:
                raise UserError(
                    f"benchmarks: the endpoint of {model!r} does not answer what is known beforehand, so its scores "
                    f"would mean nothing. {'; '.join(faults)}"
                )
            stage.progress.advance(1)
            return Outcome(0, rows_digest([]), facts={"findings": [asdict(each) for each in found]})

        content = {
            "texts": known_answers.content_key(),
            "known_answers": config.known_answers,
            "chat_template": config.chat_template,
            "teacher": self._faculty.identity(model).digest,
        }
        return Stage(f"{CHECK}{model}", 1, content, {}, run, "a hundred short requests")

    async def _look(self, model: str) -> list[Finding]:
        config = self._config
        async with self._faculty.served_model(model) as served:
            try:
                return await check.findings(
                    served, self._faculty.tokenizer(model), config.chat_template, config.known_answers
                )
            except RequestFailed as error:
                raise UserError(f"benchmarks: the endpoint of {model!r} cannot be measured: {error}") from error

    def _measured(self, model: str, checked: Stage) -> Stage:
        def run(stage: StageRun) -> Outcome:
            return self._put(model, stage)

        content = {
            **self._config.model_dump(mode="json", include={"limit", "num_fewshot", "chat_template"}),
            "tasks": [tasks.content_key(task) for task in self._config.tasks],
            "harness": self._version,
            "seed": self._recipe.seed,
            "teacher": self._faculty.identity(model).digest,
        }
        return Stage(f"{BENCHMARK}{model}", 1, content, {"check": checked}, run, "each task's documents")

    def _put(self, model: str, stage: StageRun) -> Outcome:
        """One task or group after another; each is committed when it is whole, and within it the ledger knows."""
        from pipelines.benchmark import harness
        from pipelines.benchmark.served_lm import ServedLM

        config, seed, figures = self._config, self._recipe.seed, stage.folder.child(FIGURES)
        with harness.quiet(stage.folder):
            for number, (name, its) in enumerate(harness.load(config, seed).items()):
                shard = Shard(number, name, 0, 0)
                if has_shard(stage.folder, shard):
                    continue
                asker = Asker(self._faculty, model, stage)
                lm = ServedLM(asker, self._faculty.tokenizer(model), self._window(model), name)
                answers, found = harness.run(name, its, lm, model, config, seed)
                figures.write_json(f"{number:06d}.json", [asdict(each) for each in found])
                write_shard(stage.folder, shard, answers, BenchmarkAnswer, [], asdict(asker.cost))
        return self._outcome(model, stage)

    def _outcome(self, model: str, stage: StageRun) -> Outcome:
        figures = stage.folder.child(FIGURES)
        cost = Usage.of(totals(stage.folder))
        facts: dict[str, Any] = {
            "teacher": model,
            "teacher_digest": self._faculty.identity(model).digest,
            "harness": self._version,
            FIGURES: [each for name in figures.files(".json") for each in figures.read_json(name)],
            **cost.facts(),
        }
        return Outcome(*summary(stage.folder, BenchmarkAnswer), cost.prompt_tokens, cost.output_tokens, facts=facts)

    def _window(self, model: str) -> int | None:
        """None for a server of the user's: it refuses what is too long, and says so."""
        spec = self._recipe.teachers[model]
        assert isinstance(spec, VLLMTeacher | HTTPTeacher), "the recipe lets no other model be measured"
        return spec.engine.max_model_len if isinstance(spec, VLLMTeacher) else None
