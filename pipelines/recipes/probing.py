"""The stages in which rows are probed: the reference set, the rows, their influence on one warm student.

Knows which settings enter each stage's key, and what each method evaluates on. Builds inert stages; starts nothing.

    reference ─┐
    rows ──────┼─► influence
    student ───┘
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import SEED_ANSWERS, Probe
from pipelines.core.errors import UserError
from pipelines.core.hashing import file_digest
from pipelines.core.parts import rows_of
from pipelines.core.recipe import StudentRecipe, TinyLLM, Tune
from pipelines.core.records import Instruction, Question
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.influence import given_rows, reference_rows
from pipelines.influence import stage as influence
from pipelines.influence.encoder import Encoder
from pipelines.influence.work import STAGE
from pipelines.train import given_data
from serving.faculty import ClusterFaculty

Evaluated = Callable[[StageRun], Iterator[str]]  # the prompts of an evaluation, out of a stage's inputs


class ProbeStages:
    """One section `key` of a recipe, whose student is asked. UserError for a file that is not there."""

    def __init__(self, key: str, config: Probe, recipe: StudentRecipe, faculty: ClusterFaculty) -> None:
        self._key, self._config, self._recipe, self._faculty = key, config, recipe, faculty

    def reference(self, stages: Mapping[str, Stage]) -> Stage:
        """What the student should be good at; `stages` are the run's, by name."""
        config, seed, source = self._config, self._recipe.seed, self._config.reference
        needed, evaluated = evaluated_on(self._recipe)
        if source.path == SEED_ANSWERS:
            if "seeds" not in stages:
                raise UserError(f"{self._key}.reference.path: a recipe of method {self._recipe.method!r} has no seeds")
            needed, content = (*needed, "seeds"), ""
        else:
            content = given_data.content_key(f"{self._key}.reference", source)
        settings = {
            **source.model_dump(mode="json", include={"where", "limit"}),
            "content": content,
            "evaluated_too": config.evaluated_too,
            "seed": seed,
            **self.rendering(),
        }

        def run(stage: StageRun) -> Outcome:
            return reference_rows.run(config, self._key, seed, self.encoder(), evaluated(stage), stage)

        inputs = {name: stages[name] for name in dict.fromkeys(needed)}
        return Stage(reference_rows.STAGE, 1, settings, inputs, run)

    def given(self, path: str) -> Stage:
        """A user's own rows."""
        file = given_rows.file_of(path)
        settings = {"content": file_digest(file), **self.rendering()}

        def run(stage: StageRun) -> Outcome:
            return given_rows.run(file, self.encoder(), stage)

        return Stage(given_rows.STAGE, 1, settings, {}, run)

    def influence(self, name: str, rows: Stage, reference: Stage, student: Stage) -> Stage:
        """How much each row helps the warm student."""
        config, seed = self._config, self._recipe.seed
        settings: dict[str, Any] = config.model_dump(mode="json", include={"method", "normalise", "every_layer"})
        if config.method != "exact":
            settings |= {"checked": config.self_check.rows, "seed": seed}
        run = partial(influence.run, config, seed, name, lambda: self._faculty.at("probe"))
        inputs = {"source": rows, "reference": reference, "student": student}
        return Stage(name, 2, settings, inputs, run, f"by the method {config.method}", kind=STAGE)

    def encoder(self) -> Encoder:
        """Rows as the student's training has them, of which the answer counts."""
        student = self._recipe.student
        tokenizer = ChatTokenizer(str(self._faculty.origin(student.init).folder()), student.learn.template)
        return Encoder(tokenizer, student.train.max_length)

    def rendering(self) -> dict[str, Any]:
        """What a row's tokens depend on, as it enters a stage's key."""
        student = self._recipe.student
        return {
            "template": student.learn.template,
            "max_length": student.train.max_length,
            "tokenizer": self._faculty.origin(student.init).digest,
        }


def evaluated_on(recipe: StudentRecipe) -> tuple[tuple[str, ...], Evaluated]:
    """(the stages that hold what a method evaluates on, how its prompts are read from them)."""
    if isinstance(recipe, Tune):
        return (), lambda _: _given_apart(recipe)
    if isinstance(recipe, TinyLLM):
        return ("questions",), _asked_apart
    return ("held_out",), _tasks_apart


def _given_apart(recipe: Tune) -> Iterator[str]:
    halves = given_data.split_sources(recipe.data, recipe.seed)["held_out"]
    return (row.messages()[-2]["content"].strip() for rows, _ in halves.values() for row in rows)


def _asked_apart(run: StageRun) -> Iterator[str]:
    return (q.stem for q in rows_of(run.inputs["questions"].folder, Question) if q.part == "test")


def _tasks_apart(run: StageRun) -> Iterator[str]:
    return (task.as_prompt().strip() for task in rows_of(run.inputs["held_out"].folder, Instruction))
