"""Every training that a recipe asks for, by the recipe's key: the student's, and those of a teacher that is tuned.

Knows the recipe only.
"""

from collections.abc import Mapping

from pipelines.core.config import Train
from pipelines.core.recipe import Montessori, StudentRecipe


def of_student(recipe: StudentRecipe) -> Mapping[str, Train]:
    """With the one that it is warmed up by before it is probed."""
    warm = {"rounds.warm_up.train": recipe.rounds.warm_up.train} if isinstance(recipe, Montessori) else {}
    return {**recipe.student.trainings, **warm}


def of_teacher(recipe: StudentRecipe) -> Mapping[str, Train]:
    """Where it is tuned."""
    return {"rounds.tune": recipe.rounds.tune} if isinstance(recipe, Montessori) else {}
