"""The stages in which a student comes to be: signals, first weights, training. Every method that trains builds on them.

Knows which settings enter each stage's key. Builds inert stages; starts nothing.
"""

from collections.abc import Sequence
from functools import partial

from cluster.models import Model
from pipelines.core import manifest
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import GivenStudent, PrunedStudent, RandomStudent, Reasoning, Train
from pipelines.core.recipe import StudentRecipe, signal_teachers
from pipelines.core.stage import Done, Outcome, Stage, StageRun
from pipelines.generate.faculty import run_rows
from pipelines.generate.soft_targets import SoftTargetWork
from pipelines.train import card, examples, initial, student
from pipelines.train.card import Lesson, Origin
from pipelines.train.job import MODEL
from serving.faculty import ClusterFaculty

# What changes no numbers.
HOW_IT_RUNS = {"checkpoint_every", "workers", "zero_stage", "offload", "gradient_checkpointing", "track"}


class StudentStages:
    """Each method makes one stage out of the recipe. UserError for a file or model that is not there."""

    def __init__(self, recipe: StudentRecipe, faculty: ClusterFaculty) -> None:
        self._recipe, self._faculty = recipe, faculty

    def examples(
        self, name: str, answers: Stage, tasks: Sequence[Stage], marks: Reasoning | None = None, kind: str = ""
    ) -> Stage:
        """The answers as the student learns them; thoughts stand between `marks`."""
        max_length, model = self._recipe.student.train.max_length, self._faculty.origin(self._recipe.student.init)
        template = self._recipe.student.learn.template
        config = {
            "max_length": max_length,
            "tokenizer": model.digest,
            "template": template,
            "reasoning": marks and marks.model_dump(mode="json"),
        }

        def run(stage: StageRun) -> Outcome:
            encoded = partial(examples.encode, tokenizer=ChatTokenizer(str(model.folder()), template), marks=marks)
            return examples.run(name, encoded, max_length, stage)

        return Stage(name, 5, config, {"answers": answers, **{stage.name: stage for stage in tasks}}, run, kind=kind)

    def soft_targets(
        self, name: str, teacher: str, shown: Stage, k: int, sources: frozenset[str] | None = None
    ) -> Stage:
        """A teacher's `k` likeliest tokens at each of the examples', of these sources only."""
        config = {"k": k, "teacher": self._faculty.identity(teacher).digest}
        if sources is not None:
            config["sources"] = sorted(sources)

        def run(stage: StageRun) -> Outcome:
            work = SoftTargetWork(self._faculty.identity(teacher), k, sources)
            return run_rows(work, self._faculty, teacher, name, stage.inputs["source"].folder, stage)

        return Stage(name, 1, config, {"source": shown}, run)

    def first(self, shown: Stage) -> list[Stage]:
        """The student before it is trained: pruned and perhaps refitted, or given."""
        start = self._student_init(shown)
        return [start, self._refit(shown, start)] if self._recipe.student.refit else [start]

    def trained(self, name: str, train: Train, shown: Stage, signals: list[Stage], first: Stage, nth: int = 1) -> Stage:
        """The student that `first` becomes. Whatever a run calls each that it trains, all are of one kind.

        The `nth` of several that are trained alike sees the examples in an order of its own.
        """
        seed, template = self._recipe.seed + nth - 1, self._recipe.student.learn.template
        beside = self._beside(train)
        config = {
            **train.model_dump(mode="json", exclude=HOW_IT_RUNS),
            "seed": seed,
            "teacher": beside and beside.digest,
        }
        inputs = {"examples": shown, "init": first, **{stage.name: stage for stage in signals}}

        def run(stage: StageRun) -> Outcome:
            start = student.model_of(stage.inputs["init"])
            own = "" if template == "chat" else ChatTokenizer(str(start), template).template_source
            folder = beside.folder() if beside else None
            tokens = self._teacher_tokens()
            live = partial(self._faculty.at, "student")
            outcome = student.run_train(train, seed, start, live, stage, own, folder, tokens)
            made = stage.folder.child(MODEL)
            card.write(made, self._origin(stage), train, stage.inputs["examples"], outcome.facts)
            return outcome

        return Stage(name, 4, config, inputs, run, f"{train.epochs} epoch(s)", kind="student")

    def _origin(self, run: StageRun) -> Origin:
        names, faculty = signal_teachers(self._recipe.student), self._faculty
        teachers = {name: faculty.model(name).ref for name in names}
        model = faculty.origin(self._recipe.student.init)
        is_encoder_decoder = ChatTokenizer(str(model.folder())).is_encoder_decoder
        earlier: list[Lesson] = []
        init = run.inputs["init"]
        while "loss_curve" in (facts := init.manifest["facts"]):
            made_of = {role: _done(run, each["folder"]) for role, each in init.manifest["inputs"].items()}
            earlier.insert(0, Lesson(made_of["examples"], facts))
            init = made_of["init"]
        return Origin(model.ref, teachers, facts, earlier, is_encoder_decoder)

    def _beside(self, train: Train) -> Model | None:
        """The teacher that runs in the training workers, where a loss needs one."""
        name = self._recipe.student.signals
        if not train.needs_teacher:
            return None
        assert isinstance(name, str), "the recipe lets one teacher run beside the student"
        return self._faculty.model(name)

    def _teacher_tokens(self) -> int | None:
        """How many token ids the teachers know; those of several are the same, as preflight has seen."""
        names = signal_teachers(self._recipe.student)
        return max(self._faculty.tokenizer(names[0]).vocabulary().values()) + 1 if names else None

    def _student_init(self, shown: Stage) -> Stage:
        init = self._recipe.student.init
        model = self._faculty.origin(init)
        if isinstance(init, GivenStudent):
            return initial.given(model)
        config = {**init.model_dump(mode="json", exclude={"teacher"}), "teacher": model.digest}
        if isinstance(init, RandomStudent):
            return Stage("student_init", 1, {**config, "seed": self._recipe.seed}, {}, partial(self._random, init))

        def run(stage: StageRun) -> Outcome:
            return initial.run_prune(init, model.folder(), lambda: self._faculty.at("cpu"), stage)

        return Stage("student_init", 2, config, {"examples": shown}, run)

    def _random(self, init: RandomStudent, stage: StageRun) -> Outcome:
        folder, seed = self._faculty.origin(init).folder(), self._recipe.seed
        return initial.run_random(init, folder, seed, lambda: self._faculty.at("cpu"), stage)

    def _refit(self, shown: Stage, first: Stage) -> Stage:
        init, config = self._recipe.student.init, self._recipe.student.refit
        assert config is not None, "asked for a refit without its settings"
        assert isinstance(init, PrunedStudent), "the recipe lets only a pruned student be refitted"
        model = self._faculty.origin(init)

        def run(stage: StageRun) -> Outcome:
            return initial.run_refit(config, init, model.folder(), lambda: self._faculty.at("cpu"), stage)

        return Stage("refit", 1, config.model_dump(mode="json"), {"examples": shown, "init": first}, run)


def _done(run: StageRun, folder: str) -> Done:
    """A stage that another was made from."""
    found = run.runs.child(folder)
    told = manifest.read(found)
    assert told is not None, f"{folder} was made from, and is not finished"
    return Done(found, told)
