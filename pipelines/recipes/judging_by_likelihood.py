"""The stages in which a likelihood judges: what it prefers of pairs that are plain, and of each model's answers.

Knows which settings enter each stage's key, and where likelihoods are measured: in a worker of the cluster, as held-out
losses are. Builds inert stages; starts nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import LikelihoodJudge, VLLMTeacher
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.recipe import Compare
from pipelines.core.records import AnswerLikelihood, Talk, TrainExample, Verdict
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.judge import likelihood, self_check
from pipelines.recipes.judging import CHECK, PAIRWISE, contestants, pairs_of, with_facts
from pipelines.train.held_out_loss import in_a_worker
from serving.faculty import ClusterFaculty


class LikelihoodStages:
    """A judge whose likelihoods are measured."""

    def __init__(self, recipe: Compare, config: LikelihoodJudge, faculty: ClusterFaculty) -> None:
        self._recipe, self._config, self._faculty = recipe, config, faculty

    def checks(self) -> list[Stage]:
        """What it prefers of pairs that are plain."""
        content = {"content": self_check.content_key(), "margin": self._config.margin, **self._key()}
        return [Stage(CHECK, 1, content, {}, self._check, "likelihoods of plain pairs", "check_likelihood")]

    def verdicts(self, talks: Mapping[str, Stage]) -> list[Stage]:
        """How likely it finds every model's answers, and what it prefers for that."""
        measured = {model: self._likelihoods(model, stage) for model, stage in talks.items()}
        return [*measured.values(), *(self._pairwise(model, talks, measured) for model in self._recipe.challengers)]

    def _check(self, stage: StageRun) -> Outcome:
        pairs = self_check.pairs()
        found = likelihood.verdicts(pairs, self._measured(self_check.sides(), stage), self._config.margin)
        write_rows(stage.folder, found, Verdict)
        return with_facts(Outcome(*summary(stage.folder, Verdict)), self_check.of_verdicts(found, "likelihood", 1))

    def _likelihoods(self, model: str, talks: Stage) -> Stage:
        def run(stage: StageRun) -> Outcome:
            found = self._measured(rows_of(stage.inputs["source"].folder, Talk), stage)
            write_rows(stage.folder, found, AnswerLikelihood)
            facts = {"too_long": sum(not each.tokens for each in found)}
            return Outcome(*summary(stage.folder, AnswerLikelihood), facts=facts)

        return Stage(f"likelihoods_{model}", 1, self._key(), {"source": talks}, run)

    def _pairwise(self, model: str, talks: Mapping[str, Stage], measured: Mapping[str, Stage]) -> Stage:
        name, margin = f"{PAIRWISE}{model}", self._config.margin

        def run(stage: StageRun) -> Outcome:
            folders = (stage.inputs[role].folder for role in ("of_model", "of_baseline"))
            told = [row for folder in folders for row in rows_of(folder, AnswerLikelihood)]
            write_rows(stage.folder, likelihood.verdicts(pairs_of(name, stage), told, margin), Verdict)
            return Outcome(*summary(stage.folder, Verdict))

        likelihoods = {"of_model": measured[model], "of_baseline": measured[self._config.baseline]}
        inputs = {**contestants(self._recipe, model, talks), **likelihoods}
        return Stage(name, 1, {"margin": margin}, inputs, run)

    def _measured(self, talks: Iterable[Talk], stage: StageRun) -> list[AnswerLikelihood]:
        model, window = self._faculty.model(self._config.teacher), self._window()
        rows = list(talks)
        stage.progress.begin(stage.folder.name, len(rows), 0)

        def measure(examples: Sequence[TrainExample]) -> list[tuple[float, int]]:
            return in_a_worker(model.folder(), examples, self._faculty.at("student"), stage.progress)

        return likelihood.measured(rows, ChatTokenizer(str(model.folder())), window, measure)

    def _window(self) -> int:
        spec = self._recipe.teachers[self._config.teacher]
        assert isinstance(spec, VLLMTeacher), "the recipe lets no other judge by likelihood"
        return spec.engine.max_model_len

    def _key(self) -> dict[str, Any]:
        return {"judge": self._faculty.identity(self._config.teacher).digest, "window": self._window()}
