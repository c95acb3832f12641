"""What a run's data is made of: which stages it goes through, and which hold the tasks that were answered.

Knows the names of the stages that write data (`recipes/data.py`). Readers: the report, `export`.
"""

from collections.abc import Mapping

from pipelines.core.stage import Done

_STEPS = ("seeds", "evolved", "instructions", "task_types", "instances", "answers", "examples")


def steps(done: Mapping[str, Done]) -> list[str]:
    """The finished stages that the data goes through, in their order (`evolved_1` is one of `evolved`)."""
    return [name for name in done if name.rstrip("_0123456789") in _STEPS]


def tasks(done: Mapping[str, Done]) -> Done:
    """The stage whose tasks were answered."""
    return done["instances"] if "instances" in done else done["instructions"]
