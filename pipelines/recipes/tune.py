"""The method `tune`: a student learns from data that is there already.

Knows which stage feeds which, and which settings enter each stage's key. Builds inert stages; starts nothing.

    examples ─┬─► soft_targets (one for each teacher) ─┐
              ├─► student_init (─► refit) ─────────────┴─► student ─┐
    held_out ─┴─────────────────────────────────────────────────────┴─► held_out_loss
"""

from pathlib import Path

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import FakeTeacher, Learn, Teacher, VLLMTeacher
from pipelines.core.recipe import Tune
from pipelines.core.records import Split
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.recipes.student import StudentStages
from pipelines.train import given_data, held_out_loss, student
from serving.faculty import ClusterFaculty


def stages(recipe: Tune, faculty: ClusterFaculty) -> list[Stage]:
    """The whole run, in order. UserError for a file or model that is not there."""
    own, made, train = _Builder(recipe, faculty), StudentStages(recipe, faculty), recipe.student.train
    shown = own.examples("train", recipe.student.learn)
    # Whatever is learnt from, answers are what is measured: so methods compare.
    apart = own.examples("held_out", Learn(template=recipe.student.learn.template))
    signals = [
        made.soft_targets(f"soft_targets_{teacher}", teacher, shown, train.top_k, sources)
        for teacher, sources in _sources_of(recipe).items()
        if train.needs_signals
    ]
    first = made.first(shown)
    trained = made.trained("student", train, shown, signals, first[-1])
    return [shown, apart, *signals, *first, trained, own.held_out_loss(apart, first[0], trained)]


def _sources_of(recipe: Tune) -> dict[str, frozenset[str]]:
    """Teacher -> the sources whose rows it is for."""
    told = recipe.signals
    return {teacher: frozenset(s for s, t in told.items() if t == teacher) for teacher in dict.fromkeys(told.values())}


def measurable(teacher: Teacher) -> bool:
    """Whether its held-out loss is measured: that is done in one process, which has one GPU at most."""
    return isinstance(teacher, FakeTeacher) or (isinstance(teacher, VLLMTeacher) and teacher.engine.gpus == 1)


class _Builder:
    """What only this method has: examples of given data, and the loss on those that are held out."""

    def __init__(self, recipe: Tune, faculty: ClusterFaculty) -> None:
        self._recipe, self._faculty = recipe, faculty

    def examples(self, split: Split, learn: Learn) -> Stage:
        data, seed = self._recipe.data, self._recipe.seed
        max_length = self._recipe.student.train.max_length
        model = self._faculty.origin(self._recipe.student.init)
        config = {
            "sources": {
                name: {
                    **source.model_dump(exclude={"path", "format"}),
                    "content": given_data.content_key(f"data.sources.{name}", source),
                }
                for name, source in data.sources.items()
            },
            "held_out": data.held_out,
            "learn": learn.model_dump(mode="json"),
            "max_length": max_length,
            "tokenizer": model.digest,
            "seed": seed,
        }

        def run(stage: StageRun) -> Outcome:
            tokenizer = ChatTokenizer(str(model.folder()), learn.template)
            return given_data.run(data, learn, seed, split, tokenizer, max_length, stage)

        return Stage(given_data.STAGES[split], 2, config, {}, run)

    def held_out_loss(self, apart: Stage, first: Stage, trained: Stage) -> Stage:
        teachers = [name for name in _sources_of(self._recipe) if measurable(self._recipe.teachers[name])]
        config = {"teachers": {name: self._faculty.identity(name).digest for name in teachers}}

        def run(stage: StageRun) -> Outcome:
            models: dict[str, Path] = {
                held_out_loss.BEFORE: student.model_of(stage.inputs["init"]),
                held_out_loss.AFTER: student.model_of(stage.inputs["student"]),
                **{f"teacher {name}": self._faculty.model(name).folder() for name in teachers},
            }
            return held_out_loss.run(models, lambda: self._faculty.at("student"), stage)

        inputs = {"held_out": apart, "init": first, "student": trained}
        return Stage(held_out_loss.STAGE, 1, config, inputs, run, "student before and after, teachers")
