"""The method `generate`: teachers write instructions and answers, and the data is the result.

Knows which stage feeds which. Builds inert stages; starts nothing.

    seeds ─► instructions ─┬──────────────────────────────┬─► answers
                           └─► task_types ─► instances ───┘
"""

from pipelines.core.recipe import Generate
from pipelines.core.stage import Stage
from pipelines.recipes.data import DataStages
from serving.faculty import ClusterFaculty


def stages(recipe: Generate, faculty: ClusterFaculty) -> list[Stage]:
    """The whole run, in order. UserError for a file or model that is not there."""
    made = DataStages(recipe, faculty)
    seed = made.seeds()
    tasks = made.tasks(seed)
    return [seed, *tasks, made.answers(tasks[-1])]
