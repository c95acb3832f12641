"""The method `montessori`: round by round a teacher is tuned to write what helps one student (arXiv 2410.14208).

Knows which stage feeds which, and which settings enter each stage's key. Builds inert stages; starts nothing. A name
that ends with a number says how many rounds the teacher has been tuned for when it comes: what it writes then, the
student that learns that, and the next round, which the numbers' stages are.

    seeds ─► instructions_n ─► tasks_n ─► answers_n ─► examples_n ─► budget_n ─► student_n ─────────► held_out_loss
                  ▲                                        │                                              ▲
                  │                  warm_rows_n ◄─────────┴──────► probe_rows_n                          │
                  │                       │                              │                        held_out_examples
                  │                     warm_n ─────────► influence_n ◄──┘ (and `reference`)
                  │                                            │
              teacher_n+1 ◄─── pair_losses_n ◄─── pairs_n ◄── preferences_n

The last student is called `student`, as the one of other methods is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import FakeTeacher, VLLMTeacher
from pipelines.core.parts import rows_of
from pipelines.core.recipe import STUDENT, Montessori
from pipelines.core.records import Completion, Instruction
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.generate import new_tasks, preferences
from pipelines.generate.ledger import Ledger
from pipelines.generate.prompts import InstructionPrompt
from pipelines.generate.teacher import TeacherId
from pipelines.influence import warm_up
from pipelines.recipes import writers
from pipelines.recipes.data import DataStages
from pipelines.recipes.probing import ProbeStages
from pipelines.recipes.student import HOW_IT_RUNS, StudentStages
from pipelines.recipes.writers import Writer
from pipelines.train import drawn, held_out_loss, initial, preferred, seed_answers, student
from serving.faculty import ClusterFaculty


def stages(recipe: Montessori, faculty: ClusterFaculty) -> list[Stage]:
    """The whole run, in order. UserError for a file or model that is not there."""
    return _Builder(recipe, faculty).all()


def student_name(recipe: Montessori, rounds: int, nth: int = 1) -> str:
    """The stage of a student of the teacher after so many rounds. The run's last is `student` to all."""
    name = STUDENT if rounds == recipe.rounds.count else f"{STUDENT}_{rounds}"
    return name if nth == 1 else f"{name}_no_{nth}"


def model_name(rounds: int, nth: int) -> str:
    """The same where its losses stand."""
    return f"{held_out_loss.AFTER}-{rounds}-{nth}"


@dataclass(frozen=True)
class _Written:
    """What a teacher wrote, after so many rounds."""

    instructions: Stage
    tasks: Stage
    answers: Stage
    examples: Stage

    def stages(self) -> list[Stage]:
        return [self.instructions, self.tasks, self.answers, self.examples]


class _Builder:
    """Makes one round after another."""

    def __init__(self, recipe: Montessori, faculty: ClusterFaculty) -> None:
        self._recipe, self._faculty = recipe, faculty
        self._data, self._made = DataStages(recipe, faculty), StudentStages(recipe, faculty)
        self._probes = ProbeStages("rounds.probe", recipe.rounds.probe, recipe, faculty)

    def all(self) -> list[Stage]:
        seed = self._data.seeds()
        written = self._written(0, seed, None)
        apart = self._data.held_out(seed, written.instructions)
        examined = self._examined(apart)
        wanted = self._probes.reference({"seeds": seed, "held_out": apart})
        first = self._made.first(written.examples)
        teacher = self._untuned()
        found = [seed, *written.stages(), apart, examined, wanted, *first, teacher]
        budgets, students = [], []
        warm = first[-1]
        for rounds in range(self._recipe.rounds.count + 1):
            budgets.append(self._budget(rounds, written.examples))
            students += self._students(rounds, budgets[-1], first[-1])
            found += [budgets[-1], *students[-self._recipe.evaluate.students :]]
            if rounds == self._recipe.rounds.count:
                break
            start = first[-1] if self._recipe.rounds.warm_up.start == "first" else warm
            round = self._round(rounds, written, wanted, start, teacher)
            warm, teacher = round[2], round[-1]
            written = self._written(rounds + 1, seed, self._writer(rounds + 1, teacher))
            found += [*round, *written.stages()]
        return [*found, self._held_out_loss(examined, first[0], students)]

    def _written(self, rounds: int, seed: Stage, by: Writer | None) -> _Written:
        config = self._recipe
        instructions = self._data.rounds(config.instructions, seed, by, f"instructions_{rounds}")
        tasks = Stage(f"tasks_{rounds}", 1, {}, {"source": instructions}, new_tasks.run, kind="new_tasks")
        answers = self._data.asked(f"answers_{rounds}", config.answers, tasks, by, "answers")
        shown = self._made.examples(f"examples_{rounds}", answers, [instructions], config.trained_reasoning, "examples")
        return _Written(instructions, tasks, answers, shown)

    def _writer(self, rounds: int, teacher: Stage) -> Writer:
        """The tuned teacher, run as the untuned one is."""
        spec = self._recipe.teachers[self._recipe.teacher]
        assert isinstance(spec, VLLMTeacher | FakeTeacher), "the recipe lets no other teacher be tuned"
        merged = {"adapter": None} if isinstance(spec, VLLMTeacher) else {}  # in the weights that were tuned
        name = self._recipe.tuned(rounds)
        return writers.made(self._faculty, name, lambda m: spec.model_copy(update={"model": m, **merged}), teacher)

    def _round(self, n: int, written: _Written, wanted: Stage, start: Stage, teacher: Stage) -> list[Stage]:
        """The third is the student that was warmed up, the last the teacher that is tuned."""
        config = self._recipe.rounds
        warm_rows, probe_rows = self._half("warm", n, written), self._half("probe", n, written)
        warm = self._made.trained(f"warm_{n}", config.warm_up.train, warm_rows, [], start)
        influence = self._probes.influence(f"influence_{n}", probe_rows, wanted, warm)
        preferred = self._preferences(n, written, probe_rows, influence)
        pairs = self._pairs(n, written, preferred)
        before = self._pair_losses(n, pairs, teacher)
        return [
            warm_rows,
            probe_rows,
            warm,
            influence,
            preferred,
            pairs,
            before,
            self._tuned(n, pairs, before, teacher),
        ]

    def _half(self, half: warm_up.Half, n: int, written: _Written) -> Stage:
        rows, kind = self._recipe.rounds.warm_up.rows, warm_up.STAGES[half]
        inputs = {"examples": written.examples, "tasks": written.tasks}
        return Stage(f"{kind}_{n}", 1, {"rows": rows}, inputs, partial(warm_up.run, half, rows), kind=kind)

    def _preferences(self, n: int, written: _Written, rows: Stage, influence: Stage) -> Stage:
        config, method = self._recipe.rounds.preferences, self._recipe.rounds.probe.method

        def run(stage: StageRun) -> Outcome:
            return preferences.run(config, method, _said(stage), stage)

        inputs = {"influence": influence, "rows": rows, "tasks": written.tasks, "instructions": written.instructions}
        kind = "preferences"
        return Stage(f"{kind}_{n}", 1, config.model_dump(mode="json"), inputs, run, kind=kind)

    def _pairs(self, n: int, written: _Written, preferred_: Stage) -> Stage:
        max_length, model = self._recipe.rounds.tune.max_length, self._faculty.model(self._recipe.teacher)
        is_chat = InstructionPrompt.load(self._recipe.instructions.prompt).is_chat
        content = {"max_length": max_length, "tokenizer": model.digest, "is_chat": is_chat}

        def run(stage: StageRun) -> Outcome:
            tokenizer = ChatTokenizer(str(model.folder()))
            return preferred.run(_said(stage), tokenizer, is_chat, max_length, stage)

        inputs = {"preferences": preferred_, "tasks": written.tasks, "instructions": written.instructions}
        return Stage(f"pairs_{n}", 1, content, inputs, run, kind=preferred.STAGE)

    def _pair_losses(self, n: int, pairs: Stage, teacher: Stage) -> Stage:
        """What the teacher thinks of both texts before it is tuned."""
        precision = self._recipe.rounds.tune.precision

        def run(stage: StageRun) -> Outcome:
            models = {"teacher": student.model_of(stage.inputs["teacher"])}
            return held_out_loss.run(models, lambda: self._faculty.at("student"), stage, precision)

        inputs = {"held_out": pairs, "teacher": teacher}
        return Stage(f"pair_losses_{n}", 1, {"precision": precision}, inputs, run, kind="pair_losses")

    def _untuned(self) -> Stage:
        """The recipe's teacher, as a stage that others come of."""
        return replace(initial.given(self._faculty.model(self._recipe.teacher)), name="teacher_0")

    def _tuned(self, n: int, pairs: Stage, before: Stage, teacher: Stage) -> Stage:
        config, seed = self._recipe.rounds.tune, self._recipe.seed
        content = {**config.model_dump(mode="json", exclude=HOW_IT_RUNS), "seed": seed}

        def run(stage: StageRun) -> Outcome:
            first = student.model_of(stage.inputs["init"])
            return student.run_train(config, seed, first, lambda: self._faculty.at("student"), stage)

        inputs = {"examples": pairs, "init": teacher, "reference": before}
        return Stage(f"teacher_{n + 1}", 1, content, inputs, run, f"{config.epochs} epoch(s)", kind="teacher")

    def _budget(self, rounds: int, shown: Stage) -> Stage:
        rows, seed = self._recipe.evaluate.rows, self._recipe.seed
        run = partial(drawn.run, rows, seed)
        return Stage(f"budget_{rounds}", 1, {"rows": rows, "seed": seed}, {"examples": shown}, run, kind="budget")

    def _students(self, rounds: int, budget: Stage, first: Stage) -> list[Stage]:
        """Fresh ones; each sees the examples in an order of its own."""
        return [
            self._made.trained(
                student_name(self._recipe, rounds, nth), self._recipe.student.train, budget, [], first, nth
            )
            for nth in range(1, self._recipe.evaluate.students + 1)
        ]

    def _examined(self, apart: Stage) -> Stage:
        """What students are compared on: whoever taught them, somebody else's answers."""
        encoder = self._probes.encoder

        def run(stage: StageRun) -> Outcome:
            return seed_answers.run(encoder(), stage)

        return Stage(seed_answers.STAGE, 1, self._probes.rendering(), {"held_out": apart}, run, kind="held_out_answers")

    def _held_out_loss(self, examined: Stage, first: Stage, students: Sequence[Stage]) -> Stage:
        counted = [
            (rounds, nth)
            for rounds in range(self._recipe.rounds.count + 1)
            for nth in range(1, self._recipe.evaluate.students + 1)
        ]

        def run(stage: StageRun) -> Outcome:
            models: dict[str, Path] = {held_out_loss.BEFORE: student.model_of(stage.inputs["init"])}
            for (rounds, nth), trained in zip(counted, students, strict=True):
                models[model_name(rounds, nth)] = student.model_of(stage.inputs[trained.name])
            return held_out_loss.run(models, lambda: self._faculty.at("student"), stage)

        inputs = {"held_out": examined, "init": first, **{each.name: each for each in students}}
        return Stage(held_out_loss.STAGE, 1, {}, inputs, run, "every student, and the untrained one")


def _said(run: StageRun) -> dict[str, Completion]:
    """What the tasks of a stage's input were parsed from, by id."""
    facts = run.inputs["instructions"].manifest["facts"]
    ledger: Ledger[Completion] = Ledger(run.runs, TeacherId(facts["teacher"], facts["teacher_digest"]), Completion)
    return ledger.find(task.completion_id for task in rows_of(run.inputs["tasks"].folder, Instruction))
