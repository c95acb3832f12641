"""Rounds in which a student answers tasks itself and learns what its teacher says of each of its own tokens (GKD,
arXiv 2306.13649).

Knows which stage feeds which, and which settings enter each stage's key. Builds inert stages; starts nothing.

    tasks ─► tasks_1 ─► own_answers_1 ─► examples_1 ─┬─► soft_targets_1 ─┐
                             ▲                       │                   │
    student_0 ───────────────┴───────────────────────┴───────────────────┴─► student_1 ─► (round 2)
"""

from functools import partial

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Answers, OnPolicy, VLLMTeacher
from pipelines.core.parts import rows_of
from pipelines.core.recipe import STUDENT, Distil
from pipelines.core.records import Answer, Completion, TrainExample
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.generate import draw
from pipelines.generate.answers import AnswerWork
from pipelines.generate.faculty import run_rows
from pipelines.generate.ledger import Ledger
from pipelines.generate.teacher import TeacherId
from pipelines.recipes import writers
from pipelines.recipes.student import StudentStages
from pipelines.train import examples
from serving.faculty import ClusterFaculty


def student_name(recipe: Distil, round: int) -> str:
    """The stage of the student that a round leaves, 0 being before the first. The run's last is `student` to all."""
    rounds = recipe.student.on_policy.rounds if recipe.student.on_policy else 0
    return STUDENT if round == rounds else f"{STUDENT}_{round}"


def rounds(
    recipe: Distil, faculty: ClusterFaculty, made: StudentStages, tasks: list[Stage], first: Stage
) -> list[Stage]:
    """All rounds' stages, which go on from the student `first`; none where the recipe has no such section."""
    config, stages = recipe.student.on_policy, [first]
    if config is None:
        return []
    builder = _Builder(recipe, config, faculty, made)
    for round in range(1, config.rounds + 1):
        stages += builder.round(round, tasks, stages[-1])
    return stages[1:]


class _Builder:
    """Makes one round after another."""

    def __init__(self, recipe: Distil, config: OnPolicy, faculty: ClusterFaculty, made: StudentStages) -> None:
        self._recipe, self._config, self._faculty, self._made = recipe, config, faculty, made

    def round(self, round: int, tasks: list[Stage], current: Stage) -> list[Stage]:
        """One round's stages; the last of them is the student that it leaves."""
        made, train, teacher = self._made, self._config.train, self._recipe.student.signals
        assert isinstance(teacher, str), "the recipe lets one teacher judge"
        drawn = self._tasks(round, tasks[-1])
        answers = self._own_answers(f"own_answers_{round}", drawn, current)
        shown = self._examples(f"examples_{round}", answers, tasks)
        name, judged = student_name(self._recipe, round), f"soft_targets_{round}"
        signals = [made.soft_targets(judged, teacher, shown, train.top_k)] if train.needs_signals else []
        return [drawn, answers, shown, *signals, made.trained(name, train, shown, signals, current)]

    def _tasks(self, round: int, source: Stage) -> Stage:
        size, seed = self._config.tasks, self._recipe.seed
        content = {"tasks": size, "round": round, "seed": seed}
        return Stage(f"tasks_{round}", 1, content, {"source": source}, partial(draw.run, size, round, seed))

    def _own_answers(self, name: str, drawn: Stage, current: Stage) -> Stage:
        """Answers by the student as it is. Loops and what is cut off stay: there its teacher has most to say."""
        engine, pool = self._recipe.student.engine, self._config.pool
        asked = Answers(teacher=STUDENT, sampling=self._config.sampling)

        def spec(model: str) -> VLLMTeacher:
            return VLLMTeacher(kind="vllm", model=model, engine=engine, pool=pool)

        writer = writers.made(self._faculty, STUDENT, spec, current)
        content = {"sampling": asked.sampling.model_dump(mode="json"), **writer.settings}

        def run(stage: StageRun) -> Outcome:
            with writer.present(stage):
                work = AnswerWork(name, asked, self._faculty.identity(STUDENT))
                return run_rows(work, self._faculty, STUDENT, name, stage.inputs["source"].folder, stage)

        estimate = f"up to {self._config.tasks:,} answers of {asked.sampling.max_tokens} tokens by the student"
        return Stage(name, 1, content, {"source": drawn, **writer.inputs}, run, estimate)

    def _examples(self, name: str, answers: Stage, tasks: list[Stage]) -> Stage:
        """The answers in the tokens that the student said, which its replies have."""
        max_length, model = self._config.train.max_length, self._faculty.origin(self._recipe.student.init)
        content = {"max_length": max_length, "tokenizer": model.digest}

        def run(stage: StageRun) -> Outcome:
            tokenizer, said = ChatTokenizer(str(model.folder())), _replies(stage)

            def encoded(answer: Answer) -> TrainExample:
                return examples.encode_own(answer, said[answer.completion_id].token_ids, tokenizer)

            return examples.run(name, encoded, max_length, stage)

        return Stage(name, 1, content, {"answers": answers, **{stage.name: stage for stage in tasks}}, run)


def _replies(run: StageRun) -> dict[str, Completion]:
    """What a stage's answers were made of, by id."""
    answers = run.inputs["answers"]
    who = TeacherId(STUDENT, answers.manifest["facts"]["teacher_digest"])
    ledger: Ledger[Completion] = Ledger(run.runs, who, Completion)
    return ledger.find(answer.completion_id for answer in rows_of(answers.folder, Answer))
