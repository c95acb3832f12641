"""What a run's data is made of: which stages it goes through, and which hold the tasks that were answered.

Knows the names of the stages that write data (`recipes/data.py`, `on_policy.py`, `tinyllm.py`). Readers: report,
`export`.
"""

from collections.abc import Mapping

from pipelines.core.stage import Done

_STEPS = ("seeds", "instructions", "task_types", "instances", "answers", "questions", "rationales", "examples")
_NUMBERED_OR_NAMED = ("evolved_", "rationales_")
_OF_ROUNDS = ("own_answers", "examples")


def steps(done: Mapping[str, Done]) -> list[str]:
    """The finished stages that the data goes through, in their order."""
    return [name for name in done if name in _STEPS or name.startswith(_NUMBERED_OR_NAMED)]


def steps_of_rounds(done: Mapping[str, Done]) -> list[str]:
    """The same of what a student wrote itself (`recipes/on_policy.py`), round by round."""
    return [name for name in done if name not in _STEPS and name.rstrip("_0123456789") in _OF_ROUNDS]


def tasks(done: Mapping[str, Done]) -> Done:
    """The stage whose tasks were answered."""
    return done["instances"] if "instances" in done else done["instructions"]
