"""Who writes in a stage: a teacher of the recipe, or a model that a stage of the run has made.

Knows how either enters a stage's key, and how it is there while the stage runs.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from pipelines.core.config import FakeTeacher, VLLMTeacher
from pipelines.core.stage import Stage, StageRun
from pipelines.train.student import ref_of
from serving.faculty import ClusterFaculty, number_format

ROLE = "writer"  # the input that made it
Spec = VLLMTeacher | FakeTeacher


@dataclass(frozen=True)
class Writer:
    """One who is asked by name, within `present`."""

    name: str
    settings: Mapping[str, Any]  # what of it enters the key of a stage
    inputs: Mapping[str, Stage] = field(default_factory=dict)
    present: Callable[[StageRun], AbstractContextManager[None]] = lambda _: nullcontext()


def of_recipe(faculty: ClusterFaculty, name: str) -> Writer:
    """A teacher: what it is, is known beforehand."""
    return Writer(name, {"teacher": faculty.identity(name).digest})


def made(faculty: ClusterFaculty, name: str, spec: Callable[[str], Spec], stage: Stage) -> Writer:
    """The model that this stage leaves, in a folder that `spec` says how to run. What it is, is the stage's content."""
    as_planned = spec("")
    engine = number_format(as_planned.engine) if isinstance(as_planned, VLLMTeacher) else {}

    def present(run: StageRun) -> AbstractContextManager[None]:
        return faculty.lent(name, spec(ref_of(run.inputs[ROLE])))

    return Writer(name, {"engine": engine}, {ROLE: stage}, present)
