"""A stage is an inert value: a name, a version, what it is made from, and a function someone else will run.

Knows how its key is made. Does not run anything and does not know where its output lies.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.core.hashing import key_of
from pipelines.core.progress import Progress
from pipelines.core.storage import Folder


@dataclass(frozen=True)
class Outcome:
    """What a stage says of its finished output; it becomes the manifest."""

    rows: int
    digest: str  # of the content, whatever the order of rows or parts
    dropped: Mapping[str, int] = field(default_factory=dict)  # reason -> rows
    prompt_tokens: int = 0
    output_tokens: int = 0
    start_up_seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """A finished stage as its successors see it."""

    folder: Folder
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class StageRun:
    """All that a stage's function may touch."""

    folder: Folder  # its own output
    inputs: Mapping[str, Done]
    runs: Folder
    progress: Progress
    confirm: Callable[[], None] = lambda: None  # raises where `folder` is another driver's by now


@dataclass(frozen=True)
class Stage:
    """`config` holds every setting that changes the output, and no other: never a path, a pool size, a machine.

    `kind` enters the key in the name's place, where the name tells no more than when in its run a stage comes.
    """

    name: str
    version: int
    config: Mapping[str, Any]
    inputs: Mapping[str, "Stage"]
    run: Callable[[StageRun], Outcome] = field(compare=False)
    estimate: str = ""  # for `plan`: what this will ask of the teacher, in words
    kind: str = ""  # the name, where there is no other

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.kind or self.name)

    @property
    def key(self) -> str:
        parents = {role: stage.key for role, stage in self.inputs.items()}
        return key_of(self.kind, self.version, dict(self.config), parents)

    @property
    def folder_name(self) -> str:
        return f"{self.kind}-{self.key}"
