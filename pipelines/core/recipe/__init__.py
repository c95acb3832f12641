"""The recipe: what one run does. One class per method, which names its sections; what all have is shared.

Knows which sections a method has and how they depend on each other. A new method is a file here, a member of
`AnyRecipe`, and its stages in `pipelines.recipes`.
"""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from pipelines.core.recipe.base import STUDENT, DataRecipe, Recipe, signal_teachers
from pipelines.core.recipe.compare import Compare
from pipelines.core.recipe.distil import Distil, Generate
from pipelines.core.recipe.montessori import Montessori
from pipelines.core.recipe.tinyllm import TinyLLM
from pipelines.core.recipe.tune import Tune

StudentRecipe = Distil | Montessori | TinyLLM | Tune
AnyRecipe = Compare | Distil | Generate | Montessori | TinyLLM | Tune
_READER: TypeAdapter[AnyRecipe] = TypeAdapter(Annotated[AnyRecipe, Field(discriminator="method")])

__all__ = [
    "STUDENT",
    "AnyRecipe",
    "Compare",
    "DataRecipe",
    "Distil",
    "Generate",
    "Montessori",
    "Recipe",
    "StudentRecipe",
    "TinyLLM",
    "Tune",
    "recipe_of",
    "signal_teachers",
]


def recipe_of(data: Any) -> AnyRecipe:
    """A recipe out of plain values. Raises pydantic's ValidationError."""
    return _READER.validate_python(data)
