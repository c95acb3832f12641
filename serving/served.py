"""A model as it stands behind an address. Knows what is served, not how, nor to whom."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.adapters import Adapter
from cluster.engines import ONE, Replicas
from cluster.profile import RoleName
from pipelines.core.config import Engine


@dataclass(frozen=True)
class Served:
    """One model, and the adapters of it that its engines hold too."""

    name: str  # as a client names it
    folder: Path
    digest: str
    engine: Engine
    replicas: Replicas = ONE
    adapters: tuple[Adapter, ...] = ()
    role: RoleName = "student"
    is_chooser: bool = False  # its engines can be made to write given tokens, to tell how likely they are

    @property
    def names(self) -> tuple[str, ...]:
        """All that a client can name."""
        return self.name, *(adapter.name for adapter in self.adapters)

    @property
    def meaning(self) -> list[Any]:
        """What tells it from another, wherever its files lie."""
        bounds = [self.replicas.min, self.replicas.max]
        held = [[adapter.name, str(adapter.folder)] for adapter in self.adapters]
        return [self.name, self.digest, self.engine.model_dump(mode="json"), bounds, held, self.is_chooser]
