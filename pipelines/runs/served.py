"""Which models of a run can be served: those that were compared, or teacher, student before and after.

Knows the methods, and what their stages leave. Starts nothing.
"""

from collections.abc import Callable, Mapping, Sequence

from cluster.engines import Replicas
from pipelines.core import runner
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import VLLMTeacher
from pipelines.core.errors import UserError
from pipelines.core.recipe import (
    STUDENT,
    AnyRecipe,
    Compare,
    Distil,
    Montessori,
    StudentRecipe,
    TinyLLM,
    signal_teachers,
)
from pipelines.core.stage import Done, Stage
from pipelines.core.storage import Folder
from pipelines.train.held_out_loss import BEFORE
from pipelines.train.student import model_of
from serving.faculty import ClusterFaculty
from serving.served import Served

INIT = "student_init"  # its stage: as it was pruned, not yet refitted, as evaluations have it


def models_of(recipe: AnyRecipe, stages: Sequence[Stage], runs: Folder, say: Callable[[str], None]) -> list[Served]:
    """All of them; told is what answered and cannot be served. UserError where there is none, or none yet."""
    if isinstance(recipe, Compare):
        models, elsewhere = compared(recipe, stages, runs)
        for name in elsewhere:
            say(f"{name} is not served: it is a teacher of kind {recipe.teachers[name].kind}, not vllm")
        return models
    if not isinstance(recipe, StudentRecipe):
        raise UserError(f"{recipe.name!r} has the method {recipe.method!r}, which leaves no model to serve")
    return _models(recipe, stages, runs)


def before(recipe: StudentRecipe, done: Mapping[str, Done]) -> Served:
    """The student of a run that has trained one, as it was. Its engine starts when it is first asked: few ever ask."""
    init = done[INIT]
    return Served(BEFORE, model_of(init), init.manifest["digest"], recipe.student.engine, Replicas(0, 1))


def compared(recipe: Compare, stages: Sequence[Stage], runs: Folder) -> tuple[list[Served], list[str]]:
    """(the models that answered, those that did and have no engine of ours).

    UserError where none has one, and before the comparison is finished.
    """
    if any(planned.done is None for planned in runner.plan(stages, runs)):
        raise UserError(f"the comparison {recipe.name!r} is not finished yet; run `tutelage run` first")
    faculty, models = ClusterFaculty(recipe), recipe.answers.models
    ours = [name for name in models if isinstance(recipe.teachers[name], VLLMTeacher)]
    if not ours:
        raise UserError(f"{recipe.name!r} compares {', '.join(models)}, and none is of kind vllm, which can be served")
    return [faculty.served(name) for name in ours], [name for name in models if name not in ours]


def _models(recipe: StudentRecipe, stages: Sequence[Stage], runs: Folder) -> list[Served]:
    """Teacher, student before and after. An encoder-decoder is served alone."""
    student = trained(recipe, stages, runs)
    models = [Served("student", model_of(student), student.manifest["digest"], recipe.student.engine)]
    if is_encoder_decoder(models[0]):
        return models
    there = done(stages, runs)
    models.insert(0, before(recipe, there))
    # The teacher that its student is compared with, or else the first that it learnt from.
    names = _taught_by(recipe)
    spec = recipe.teachers[names[0]] if names else None
    if isinstance(spec, VLLMTeacher):
        models.insert(0, _teacher(recipe, names[0], spec, there))
    return models


def _teacher(recipe: StudentRecipe, name: str, spec: VLLMTeacher, done: Mapping[str, Done]) -> Served:
    """As the recipe has it, or as its last round left it."""
    if isinstance(recipe, Montessori):
        tuned = done[f"teacher_{recipe.rounds.count}"]
        return Served("teacher", model_of(tuned), tuned.manifest["digest"], spec.engine, role="teacher")
    model = ClusterFaculty(recipe).model(name)
    return Served("teacher", model.folder(), model.digest, spec.engine, role="teacher")


def done(stages: Sequence[Stage], runs: Folder) -> dict[str, Done]:
    """What there is of a run, by its stages' names."""
    return {planned.stage.name: planned.done for planned in runner.plan(stages, runs) if planned.done}


def trained(recipe: StudentRecipe, stages: Sequence[Stage], runs: Folder) -> Done:
    """The student's stage. UserError where it is not done."""
    student = done(stages, runs).get(STUDENT)
    if student is None:
        raise UserError(f"the student of {recipe.name!r} is not trained yet; run `tutelage run` first")
    return student


def is_encoder_decoder(model: Served) -> bool:
    """Such a model is served alone (`serving/encoder_decoder.py`)."""
    return ChatTokenizer(str(model.folder)).is_encoder_decoder


def _taught_by(recipe: StudentRecipe) -> list[str]:
    match recipe:
        case Distil():
            return [recipe.evaluate.teacher]
        case Montessori():
            return [recipe.teacher]
        case TinyLLM():
            return [source.teacher for source in recipe.asked.values()]
        case _:
            return signal_teachers(recipe.student)
