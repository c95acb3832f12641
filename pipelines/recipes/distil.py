"""The method `distil`: a teacher writes instructions and answers, a student learns from its words and its logits.

Knows which stage feeds which, and which settings enter each stage's key. Builds inert stages; starts nothing.

    seeds ─► instructions ─► answers ─► examples ─┬─► soft_targets ────────────┐
      │                                           ├─► student_init (─► refit) ─┴─► student ─┐
      └────► held_out ─────► references ──────────┴─────────────────────────────────────────┴─► evaluate

Rounds in which the student answers itself stand between its training and the evaluation (`on_policy.py`).
"""

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Answers, HTTPTeacher, VLLMTeacher
from pipelines.core.recipe import Distil
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.recipes import on_policy
from pipelines.recipes.data import DataStages
from pipelines.recipes.student import StudentStages
from pipelines.train import student
from serving import evaluate
from serving.examinees import Examinee, at_endpoint, behind_api
from serving.faculty import ClusterFaculty
from serving.served import Served


def stages(recipe: Distil, faculty: ClusterFaculty) -> list[Stage]:
    """The whole run, in order. UserError for a file or model that is not there."""
    data, made, own = DataStages(recipe, faculty), StudentStages(recipe, faculty), _Builder(recipe, faculty)
    seed = data.seeds()
    tasks = data.tasks(seed)
    apart = data.held_out(seed, tasks[-1])
    answers = data.answers(tasks[-1])
    references = own.references(data, apart)
    train, teacher = recipe.student.train, recipe.student.signals
    assert not isinstance(teacher, dict), "the recipe lets one teacher give signals"
    shown = made.examples("examples", answers, tasks, recipe.trained_reasoning)
    captured = teacher if train.needs_signals else None
    signals = [made.soft_targets("soft_targets", captured, shown, train.top_k)] if captured else []
    first = made.first(shown)
    trained = [made.trained(on_policy.student_name(recipe, 0), train, shown, signals, first[-1])]
    trained += on_policy.rounds(recipe, faculty, made, tasks, trained[0])
    evaluated = own.evaluate(references, first[0], trained[-1])  # "before" is as it was pruned, not yet refitted
    return [seed, *tasks, apart, answers, references, shown, *signals, *first, *trained, evaluated]


class _Builder:
    """What only this method has: references to the held-out tasks, and the evaluation on them."""

    def __init__(self, recipe: Distil, faculty: ClusterFaculty) -> None:
        self._recipe, self._faculty = recipe, faculty

    def references(self, data: DataStages, apart: Stage) -> Stage:
        """The teacher's own answers to the held-out tasks, asked for like the others. Loops stay: they are its own."""
        config, answers = self._recipe.evaluate, self._recipe.answers
        alike = answers if isinstance(answers, Answers) else Answers(teacher=config.teacher, sampling=config.sampling)
        every = {"teacher": config.teacher, "samples": 1, "max_repetition": 1.0}
        return data.asked("references", alike.model_copy(update=every), apart)

    def evaluate(self, references: Stage, first: Stage, trained: Stage) -> Stage:
        config, seed, marks = self._recipe.evaluate, self._recipe.seed, self._recipe.reasoning
        content = {
            **config.model_dump(mode="json", exclude={"teacher"}),
            "teacher": self._faculty.identity(config.teacher).digest,
            "seed": seed,
            "reasoning": marks and marks.model_dump(mode="json"),
        }

        def run(stage: StageRun) -> Outcome:
            students = [self._served(evaluate.AFTER, stage, "student")]
            before = None
            if config.before == "served":
                students.insert(0, self._served(evaluate.BEFORE, stage, "init"))
            else:
                before = student.model_of(stage.inputs["init"])
            tokenizer = ChatTokenizer(str(students[0].folder))
            teacher = self._examined_teacher(config.teacher, tokenizer, stage)
            return evaluate.run(config, seed, marks, self._faculty.endpoints, teacher, students, before, stage)

        inputs = {"references": references, "init": first, "student": trained}
        return Stage("evaluate", 4, content, inputs, run, "teacher, student before and after")

    def _examined_teacher(self, name: str, tokenizer: ChatTokenizer, stage: StageRun) -> Examinee | None:
        """The teacher as it is evaluated; None where nothing but a record or a fake could answer."""
        faculty = self._faculty
        match self._recipe.teachers[name]:
            case VLLMTeacher():
                return at_endpoint(evaluate.TEACHER, faculty.serve_teacher(name), faculty.served(name), tokenizer)
            case HTTPTeacher():
                return behind_api(evaluate.TEACHER, faculty, name, tokenizer, stage.runs)
        return None

    def _served(self, name: str, stage: StageRun, role: str) -> Served:
        done = stage.inputs[role]
        return Served(name, student.model_of(done), done.manifest["digest"], self._recipe.student.engine)
