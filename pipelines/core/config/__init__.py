"""The sections of a recipe, checked before anything starts.

Knows names, bounds and how a section's fields depend on each other. Which method has which sections stands in
`recipe.py`; `recipe_file.py` reads the YAML and turns errors into lines a user can act on.
"""

from pipelines.core.config.base import (
    Sampling,
    Strict,
    by_default,
)
from pipelines.core.config.data import (
    Answers,
    AnyAnswers,
    AnyInstructions,
    Data,
    Evolved,
    Filtered,
    Given,
    Instances,
    Instructions,
    OwnAnswers,
    Reasoning,
    Seeds,
    Source,
    SplitSeeds,
)
from pipelines.core.config.evaluation import (
    Bootstrap,
    Evaluate,
)
from pipelines.core.config.student import (
    GivenStudent,
    Learn,
    Method,
    OnPolicy,
    PrunedStudent,
    RandomStudent,
    Refit,
    Student,
    Template,
)
from pipelines.core.config.teachers import (
    Engine,
    FakeTeacher,
    HTTPTeacher,
    LocalTeacher,
    Pool,
    Price,
    RecordedTeacher,
    RunsHere,
    Teacher,
    Teaches,
    VLLMTeacher,
)
from pipelines.core.config.training import KD, LoRA, Tracker, Train, Validation

__all__ = [
    "KD",
    "Answers",
    "AnyAnswers",
    "AnyInstructions",
    "Bootstrap",
    "Data",
    "Engine",
    "Evaluate",
    "Evolved",
    "FakeTeacher",
    "Filtered",
    "Given",
    "GivenStudent",
    "HTTPTeacher",
    "Instances",
    "Instructions",
    "Learn",
    "LoRA",
    "LocalTeacher",
    "Method",
    "OnPolicy",
    "OwnAnswers",
    "Pool",
    "Price",
    "PrunedStudent",
    "RandomStudent",
    "Reasoning",
    "RecordedTeacher",
    "Refit",
    "RunsHere",
    "Sampling",
    "Seeds",
    "Source",
    "SplitSeeds",
    "Strict",
    "Student",
    "Teacher",
    "Teaches",
    "Template",
    "Tracker",
    "Train",
    "VLLMTeacher",
    "Validation",
    "by_default",
]
