"""The method `distil`: a teacher writes instructions and answers, a student learns from its words and its logits.

Knows which stage feeds which, and which settings enter each stage's key. Builds inert stages; starts nothing.

    seeds ─► instructions ─► answers ─► examples ─┬─► soft_targets ────────────┐
      │                                           ├─► student_init (─► refit) ─┴─► student ─┐
      └────► held_out ─────► references ──────────┴─────────────────────────────────────────┴─► evaluate
"""

from functools import partial

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Answers, GivenStudent, PrunedStudent, VLLMTeacher
from pipelines.core.recipe import Distil
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.generate import held_out
from pipelines.generate.soft_targets import SoftTargetWork
from pipelines.recipes.data import DataStages
from pipelines.train import examples, initial, student
from serving import evaluate
from serving.endpoints import Served
from serving.faculty import ClusterFaculty


def stages(recipe: Distil, faculty: ClusterFaculty) -> list[Stage]:
    """The whole run, in order. UserError for a file or model that is not there."""
    made = _Builder(recipe, faculty)
    seed = made.seeds()
    tasks = made.tasks(seed)
    apart = made.held_out(seed, tasks[-1])
    answers = made.answers(tasks[-1])
    references = made.references(apart)
    shown = made.examples(answers)
    signals = [made.soft_targets(shown)] if recipe.student.signals else []
    first = made.student_init(shown)
    refitted = [made.refit(shown, first)] if recipe.student.refit else []
    trained = made.student(shown, signals, [first, *refitted][-1])
    return [seed, *tasks, apart, answers, references, shown, *signals, first, *refitted, trained,
            made.evaluate(references, first, trained)]  # fmt: skip


class _Builder(DataStages):
    """The data's stages, and those that train on it and evaluate. Each method makes one stage out of the recipe."""

    _recipe: Distil
    _faculty: ClusterFaculty

    def held_out(self, seed: Stage, pool: Stage) -> Stage:
        max_rouge_l = self._recipe.instructions.max_rouge_l
        config = {"max_rouge_l": max_rouge_l}
        return Stage("held_out", 3, config, {"seeds": seed, "pool": pool}, partial(held_out.run, max_rouge_l))

    def references(self, apart: Stage) -> Stage:
        """The teacher's own answers to the held-out tasks, asked for like the others. Loops stay: they are its own."""
        config, answers = self._recipe.evaluate, self._recipe.answers
        alike = answers if isinstance(answers, Answers) else Answers(teacher=config.teacher, sampling=config.sampling)
        every = {"teacher": config.teacher, "samples": 1, "max_repetition": 1.0}
        return self.asked("references", alike.model_copy(update=every), apart)

    def examples(self, answers: Stage) -> Stage:
        max_length = self._recipe.student.train.max_length
        model = self._faculty.origin(self._recipe.student.init)
        marks = self._recipe.trained_reasoning
        config = {
            "max_length": max_length,
            "tokenizer": model.digest,
            "method": "sft",
            "reasoning": marks and marks.model_dump(mode="json"),
        }

        def run(stage: StageRun) -> Outcome:
            return examples.run(ChatTokenizer(str(model.folder())), max_length, marks, stage)

        return Stage("examples", 3, config, {"answers": answers}, run)

    def soft_targets(self, shown: Stage) -> Stage:
        teacher = self._recipe.student.signals
        assert teacher is not None, "asked for signals without a teacher"
        k = self._recipe.student.train.top_k

        def run(stage: StageRun) -> Outcome:
            return self._rows(SoftTargetWork(self._faculty.identity(teacher), k), teacher, "soft_targets", stage)

        return Stage("soft_targets", 1, {"k": k, "teacher": self._digest(teacher)}, {"source": shown}, run)

    def student_init(self, shown: Stage) -> Stage:
        init = self._recipe.student.init
        model = self._faculty.origin(init)
        if isinstance(init, GivenStudent):
            return initial.given(model)
        config = {**init.model_dump(mode="json", exclude={"teacher"}), "teacher": model.digest}

        def run(stage: StageRun) -> Outcome:
            assert isinstance(init, PrunedStudent)
            return initial.run_prune(init, model.folder(), lambda: self._faculty.session, stage)

        return Stage("student_init", 2, config, {"examples": shown}, run)

    def refit(self, shown: Stage, first: Stage) -> Stage:
        init, config = self._recipe.student.init, self._recipe.student.refit
        assert config is not None, "asked for a refit without its settings"
        assert isinstance(init, PrunedStudent), "the recipe lets only a pruned student be refitted"
        model = self._faculty.origin(init)

        def run(stage: StageRun) -> Outcome:
            return initial.run_refit(config, init, model.folder(), lambda: self._faculty.session, stage)

        return Stage("refit", 1, config.model_dump(mode="json"), {"examples": shown, "init": first}, run)

    def student(self, shown: Stage, signals: list[Stage], first: Stage) -> Stage:
        train, seed = self._recipe.student.train, self._recipe.seed
        config = {
            **train.model_dump(mode="json", exclude={"checkpoint_every", "workers", "zero_stage"}),
            "seed": seed,
        }
        inputs = {"examples": shown, "init": first, **({"soft_targets": signals[0]} if signals else {})}

        def run(stage: StageRun) -> Outcome:
            start = student.model_of(stage.inputs["init"])
            return student.run_train(train, seed, start, lambda: self._faculty.session, stage)

        return Stage("student", 2, config, inputs, run, f"{train.epochs} epoch(s)")

    def evaluate(self, references: Stage, first: Stage, trained: Stage) -> Stage:
        config, seed, marks = self._recipe.evaluate, self._recipe.seed, self._recipe.reasoning
        content = {
            **config.model_dump(mode="json", exclude={"teacher"}),
            "teacher": self._digest(config.teacher),
            "seed": seed,
            "reasoning": marks and marks.model_dump(mode="json"),
        }

        def run(stage: StageRun) -> Outcome:
            students = [
                self._served(evaluate.BEFORE, stage, "init"),
                self._served(evaluate.AFTER, stage, "student"),
            ]
            name, teacher = config.teacher, None
            if isinstance(self._recipe.teachers[name], VLLMTeacher):
                teacher = (self._faculty.served(name), self._faculty.serve_teacher(name))
            return evaluate.run(config, seed, marks, self._faculty.endpoints, teacher, students, stage)

        inputs = {"references": references, "init": first, "student": trained}
        return Stage("evaluate", 4, content, inputs, run, "teacher, student before and after")

    def _served(self, name: str, stage: StageRun, role: str) -> Served:
        done = stage.inputs[role]
        return Served(name, student.model_of(done), done.manifest["digest"], self._recipe.student.engine)
