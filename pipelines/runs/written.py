"""What a run's data is made of: which stages it goes through, and which hold the tasks that were answered.

Knows the names of the stages that write data (`recipes/data.py`, `on_policy.py`, `montessori.py`, `tinyllm.py`).
Readers: report, `export`.
"""

from collections.abc import Mapping

from pipelines.core.stage import Done

_STEPS = ("seeds", "instructions", "task_types", "instances", "answers", "questions", "rationales", "examples")
_NUMBERED_OR_NAMED = ("evolved_", "rationales_")
_OF_ROUNDS = ("instructions", "answers", "own_answers", "examples")


def last_teacher(done: Mapping[str, Done]) -> str:
    """How the names end of what the last teacher wrote, of several that have answered; "" where there is but one."""
    return next((name.removeprefix("answers") for name in reversed(list(done)) if name.startswith("answers_")), "")


def steps(done: Mapping[str, Done], of: str = "") -> list[str]:
    """The finished stages that the data goes through, in order; `of` is how the names of one of many teachers end."""
    names = {"seeds", *(f"{step}{of}" for step in _STEPS)}
    return [name for name in done if name in names or name.startswith(_NUMBERED_OR_NAMED)]


def steps_of_rounds(done: Mapping[str, Done]) -> list[str]:
    """The same of what was written round by round, by a student itself (`recipes/on_policy.py`) or by teachers."""
    return [name for name in done if name not in _STEPS and name.rstrip("_0123456789") in _OF_ROUNDS]


def tasks(done: Mapping[str, Done], of: str = "") -> Done:
    """The stage whose tasks were answered."""
    return done["instances"] if "instances" in done else done[f"instructions{of}"]
