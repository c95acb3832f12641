"""The method `tinyllm`: teachers explain the answers to multiple-choice questions, a student learns both.

Knows which stage feeds which, and which settings enter each stage's key. Builds inert stages; starts nothing.

    questions ─┬─► rationale_tasks ─► rationales_NAME (written) ─┬─► rationales ─► examples ─► student_init ─► student
               ├─► rationales_NAME (given) ──────────────────────┘                                  │             │
               └─► accuracy_before, accuracy ◄──────────────────────────────────────────────────────┴─────────────┘
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cluster.models import Model
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Asked, FromFile, Learn, Released
from pipelines.core.recipe import TinyLLM
from pipelines.core.records import Question, Rationale
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.generate import questions, rationale_selection, rationale_tasks, rationales, released_rationales
from pipelines.generate.faculty import run_rows
from pipelines.generate.prompts import Prompt
from pipelines.generate.rationales import RationaleWork
from pipelines.recipes.student import StudentStages
from pipelines.train import choices, likeliest, student
from pipelines.train.examples import STAGE as EXAMPLES
from serving import accuracy
from serving.faculty import ClusterFaculty, number_format
from serving.served import Served


def stages(recipe: TinyLLM, faculty: ClusterFaculty) -> list[Stage]:
    """The whole run, in order. UserError for a file or model that is not there."""
    own, made = _Builder(recipe, faculty), StudentStages(recipe, faculty)
    asked = own.questions()
    explained = own.explained(asked)
    shown = own.examples(asked, explained[-1] if explained else None)
    first = made.first(shown)
    trained = made.trained("student", recipe.training, shown, [], first[-1])
    before, after = own.accuracy(asked, first[0], accuracy.BEFORE), own.accuracy(asked, trained, accuracy.AFTER)
    return [asked, *explained, shown, *first, before, trained, after]


class _Builder:
    """What only this method has."""

    def __init__(self, recipe: TinyLLM, faculty: ClusterFaculty) -> None:
        self._recipe, self._faculty = recipe, faculty

    def questions(self) -> Stage:
        config, seed = self._recipe.data, self._recipe.seed
        content = {
            "content": questions.content_key(config),
            "limit": config.limit,
            "test_limit": config.test_limit,
            "seed": seed,
        }
        return Stage("questions", 1, content, {}, partial(questions.run, config, seed))

    def explained(self, asked: Stage) -> list[Stage]:
        """Everything that is explained, by source, and at last what is kept of it; nothing where nobody explains."""
        config, worked = self._recipe.rationales, self._recipe.rationales.in_context.worked
        given = {
            name: self._given(name, source, asked)
            for name, source in sorted(config.sources.items())
            if isinstance(source, Released | FromFile)
            and (name in config.heard or (name == worked and self._recipe.asked))
        }
        tasks = [self._tasks(asked, given.get(worked or ""))] if self._recipe.asked else []
        written = {name: self._asked(name, source, tasks[0]) for name, source in self._recipe.asked.items()}
        by_name = {**given, **written}
        kept = [self._kept(asked, [by_name[name] for name in config.heard])] if config.heard else []
        return [*given.values(), *tasks, *written.values(), *kept]

    def _given(self, name: str, source: Released | FromFile, asked: Stage) -> Stage:
        """Rationales that are there already."""
        folder = Path(self._recipe.data.path).expanduser() / "llm"
        content = {"source": name, "content": released_rationales.content_key(source, name, folder)}
        run = partial(rationales.given, source, name, folder)
        return Stage(f"rationales_{name}", 1, content, {"questions": asked}, run)

    def _tasks(self, asked: Stage, worked: Stage | None) -> Stage:
        config, seed = self._recipe.rationales.in_context, self._recipe.seed
        content = {"count": config.count, "seed": seed}
        inputs = {"questions": asked, **({"worked": worked} if worked else {})}
        return Stage("rationale_tasks", 1, content, inputs, partial(rationale_tasks.run, config, seed))

    def _asked(self, name: str, source: Asked, tasks: Stage) -> Stage:
        """Rationales that a teacher of this run writes."""
        prompt = Prompt.load(source.prompt, f"rationales.sources.{name}.prompt", ["task"])
        content = {
            "source": name,
            "prompt": prompt.digest,
            "sampling": source.sampling.model_dump(mode="json"),
            "teacher": self._faculty.identity(source.teacher).digest,
        }

        def run(stage: StageRun) -> Outcome:
            work = RationaleWork(f"rationales_{name}", name, source, self._faculty.identity(source.teacher), prompt)
            return run_rows(work, self._faculty, source.teacher, work.stage, stage.inputs["source"].folder, stage)

        estimate = f"one each, up to {source.sampling.max_tokens} tokens"
        return Stage(f"rationales_{name}", 1, content, {"source": tasks}, run, estimate)

    def _kept(self, asked: Stage, sources: list[Stage]) -> Stage:
        """What the filters leave, or the best one of each question."""
        config, judge = self._recipe.rationales, self._judge()
        content = {
            **config.model_dump(mode="json", include={"filters", "min_words", "trim", "select"}),
            "judge": judge and judge.digest,
        }

        def run(stage: StageRun) -> Outcome:
            return rationale_selection.run(config, self._scores(judge, stage) if judge else None, stage)

        inputs = {"questions": asked, **{stage.name: stage for stage in sources}}
        return Stage("rationales", 1, content, inputs, run)

    def _judge(self) -> Model | None:
        """The model whose likelihoods choose; None where none does."""
        select, faculty = self._recipe.rationales.select, self._faculty
        if select is None or select.by == "agreement":
            return None
        return faculty.model(select.teacher) if select.teacher else faculty.origin(self._recipe.student.init)

    def _scores(self, judge: Model, stage: StageRun) -> rationale_selection.Scores:
        """How likely the untrained student finds the answer after a rationale, or a teacher the rationale."""
        select, template = self._recipe.rationales.select, self._recipe.student.learn.template
        by_student = select is not None and select.by == "student"
        of: likeliest.Of = "answer" if by_student else "rationale"
        learn = Learn(template=template if by_student else "chat")

        def scores(pairs: Sequence[tuple[Question, Rationale]]) -> list[float]:
            return likeliest.scores(of, judge.folder(), learn, pairs, self._faculty.at("student"), stage.progress)

        return scores

    def examples(self, asked: Stage, kept: Stage | None) -> Stage:
        config, learn = self._recipe.rationales, self._recipe.student.learn
        max_length, model = self._recipe.student.train.max_length, self._faculty.origin(self._recipe.student.init)
        prefixes = {name: config.weighed(name)[1] for name in config.heard}
        content = {
            "prefixes": {"answer": config.answer_prefix, **prefixes},
            "learn": learn.model_dump(mode="json"),
            "max_length": max_length,
            "tokenizer": model.digest,
        }

        def run(stage: StageRun) -> Outcome:
            tokenizer = ChatTokenizer(str(model.folder()), learn.template)
            return choices.run(config, tokenizer, learn, max_length, stage)

        inputs = {"questions": asked, **({"rationales": kept} if kept else {})}
        return Stage(EXAMPLES, 5, content, inputs, run)

    def accuracy(self, asked: Stage, model: Stage, name: str) -> Stage:
        """One model's answers; before training they are the same for all recipes that start from it."""
        config, learn, prefix = self._recipe.evaluate, self._recipe.student.learn, self._recipe.rationales.answer_prefix
        engine = self._recipe.student.engine
        content = {
            "model": name,
            "max_tokens": config.max_tokens,
            "prefix": prefix,
            "template": learn.template,
            "engine": number_format(engine),
        }

        def run(stage: StageRun) -> Outcome:
            done = stage.inputs["model"]
            served = Served(name, student.model_of(done), done.manifest["digest"], engine, is_chooser=True)
            return accuracy.run(config, prefix, self._faculty.endpoints, served, learn.template, stage)

        inputs = {"questions": asked, "model": model}
        return Stage(accuracy.STAGES[name], 1, content, inputs, run, kind=accuracy.STAGE)
