"""Which models of a run are served beside its student and teacher.

Knows comparisons, and the student as it was before training. Starts nothing.
"""

from collections.abc import Mapping, Sequence

from cluster.engines import Replicas
from pipelines.core import runner
from pipelines.core.config import VLLMTeacher
from pipelines.core.errors import UserError
from pipelines.core.recipe import Compare, StudentRecipe
from pipelines.core.stage import Done, Stage
from pipelines.core.storage import Folder
from pipelines.train.held_out_loss import BEFORE
from pipelines.train.student import model_of
from serving.faculty import ClusterFaculty
from serving.served import Served

INIT = "student_init"  # its stage: as it was pruned, not yet refitted, as evaluations have it


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
