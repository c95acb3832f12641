"""Who had a part in a dataset, in words for its card: teachers, and this program."""

from pipelines.core.config import FakeTeacher, HTTPTeacher, RecordedTeacher, VLLMTeacher
from pipelines.core.recipe import Recipe
from pipelines.runs.reporting import versions


def teacher(recipe: Recipe, name: str) -> str:
    """One of a recipe's teachers."""
    match recipe.teachers[name]:
        case FakeTeacher():
            return f"`{name}`: a fake one, whose text means nothing"
        case RecordedTeacher() as spec:
            return f"`{name}`: recorded in {', '.join(spec.files)}"
        case HTTPTeacher() as spec:
            return f"`{name}`: {spec.model} at {spec.base_url}"
        case VLLMTeacher() as spec:
            return f"`{name}`: {spec.model}"


def program() -> str:
    """This program, with its version."""
    return f"tutelage {versions().get('tutelage', '(not installed)')}"
