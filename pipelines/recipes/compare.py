"""The method `compare`: models answer the same questions, and a judge that has shown what it can says which are better;
or benchmarks measure them.

Knows which stage feeds which, and which settings enter each stage's key. Builds inert stages; starts nothing.

    judge_check (and judge_check_single) ─► judge_fit
    questions ─► answers_MODEL (─► second_answers_MODEL) ─┬─► verdicts_pairwise_MODEL, with the baseline's
                                                          └─► verdicts_single_MODEL
    benchmark_check_MODEL ─► benchmark_MODEL

The judge comes first: one that is not fit ends the run before anybody has answered. A judge by likelihood has
`likelihoods_MODEL` before its verdicts. Endpoints are checked first of all, for the same reason.
"""

from dataclasses import replace
from functools import partial

from pipelines.core.config import AnyJudge, AskedJudge, LikelihoodJudge
from pipelines.core.recipe import Compare
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.generate.faculty import run_rows
from pipelines.judge import difficulty, questions
from pipelines.judge.talking import FirstWork, SecondWork
from pipelines.recipes.benchmarking import BenchmarkStages
from pipelines.recipes.judging import AskedStages, fit
from pipelines.recipes.judging_by_likelihood import LikelihoodStages
from serving.faculty import ClusterFaculty

PARAMETERS = "parameters"  # a fact of answers: the size of the model that gave them


def stages(recipe: Compare, faculty: ClusterFaculty) -> list[Stage]:
    """The whole run, in order. UserError for a file or model that is not there."""
    judged = _judged(recipe, recipe.judge, faculty) if recipe.judge else []
    if recipe.benchmarks is None:
        return judged
    benchmarks = BenchmarkStages(recipe, recipe.benchmarks, faculty)
    endpoints = benchmarks.checks()
    return [*endpoints.values(), *judged, *benchmarks.measured(endpoints)]


def _judged(recipe: Compare, config: AnyJudge, faculty: ClusterFaculty) -> list[Stage]:
    """The judge, the questions, the answers and what is said of them."""
    if config.difficulty:
        difficulty.read(config.difficulty, questions.drawn(recipe.questions, recipe.seed)[0])
    own, judge = _Builder(recipe, faculty), _judge(recipe, config, faculty)
    checks = judge.checks()
    asked = own.questions()
    answered = {model: own.answers(model, asked) for model in recipe.answers.models}
    talks = {model: made[-1] for model, made in answered.items()}
    answers = [stage for made in answered.values() for stage in made]
    return [*checks, fit(config, checks), asked, *answers, *judge.verdicts(talks)]


def _judge(recipe: Compare, config: AnyJudge, faculty: ClusterFaculty) -> AskedStages | LikelihoodStages:
    match config:
        case AskedJudge():
            return AskedStages(recipe, config, faculty)
        case LikelihoodJudge():
            return LikelihoodStages(recipe, config, faculty)


class _Builder:
    """The questions, and how each model answers them."""

    def __init__(self, recipe: Compare, faculty: ClusterFaculty) -> None:
        self._recipe, self._faculty = recipe, faculty

    def questions(self) -> Stage:
        config, seed = self._recipe.questions, self._recipe.seed
        content = {"content": questions.content_key(config), "limit": config.limit, "seed": seed}
        return Stage(questions.STAGE, 1, content, {}, partial(questions.run, config, seed), kind="open_questions")

    def answers(self, model: str, asked: Stage) -> list[Stage]:
        """One model's answers: the first turn, and the second where any question has one."""
        sampling = self._recipe.answers.sampling
        content = {
            "model": model,
            "sampling": sampling.model_dump(mode="json"),
            "teacher": self._faculty.identity(model).digest,
        }

        def run(name: str, work: type[FirstWork] | type[SecondWork], stage: StageRun) -> Outcome:
            asking = work(name, sampling, self._faculty.identity(model))
            made = run_rows(asking, self._faculty, model, name, stage.inputs["source"].folder, stage)
            return replace(made, facts={**made.facts, PARAMETERS: self._faculty.parameters(model)})

        def turn(name: str, work: type[FirstWork] | type[SecondWork], source: Stage, kind: str) -> Stage:
            estimate = f"one each, up to {sampling.max_tokens} tokens"
            return Stage(name, 1, content, {"source": source}, partial(run, name, work), estimate, f"{kind}_{model}")

        first = turn(f"answers_{model}", FirstWork, asked, "talks")
        if not self._has_second_turns():
            return [first]
        return [first, turn(f"second_answers_{model}", SecondWork, first, "second_talks")]

    def _has_second_turns(self) -> bool:
        config, seed = self._recipe.questions, self._recipe.seed
        return any(len(question.turns) > 1 for question in questions.drawn(config, seed)[0])
