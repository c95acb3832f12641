"""Which of a run's models are served, with how many engines, and with which adapters beside them.

Knows how a person writes that down. Starts nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cluster import adapters
from cluster.engines import Replicas
from pipelines.core.errors import UserError
from serving.served import Served

_BOUNDS = re.compile(r"(?P<model>[^=]+)=(?P<min>\d{1,4}):(?P<max>\d{1,4})\Z")
_ADAPTER = re.compile(r"(?P<model>[^=/]+)/(?P<name>[\w.-]+)=(?P<folder>.+)\Z")


@dataclass(frozen=True)
class Wanted:
    """What a person asks for."""

    names: Sequence[str] = ()  # all without one
    replicas: Sequence[str] = ()  # MODEL=MIN:MAX
    adapters: Sequence[str] = ()  # MODEL/NAME=FOLDER

    def of(self, models: Sequence[Served]) -> list[Served]:
        """Those of a run's models, and how. UserError for what cannot be."""
        return beside(replicas(named(models, self.names), self.replicas), self.adapters)


ALL = Wanted()


def named(models: Sequence[Served], names: Sequence[str]) -> list[Served]:
    """Those of these names, or all. UserError where there is no such model."""
    there = {model.name: model for model in models}
    for name in names:
        _named(name, there, f"--model {name}")
    return [model for model in models if not names or model.name in names]


def replicas(models: Sequence[Served], wanted: Sequence[str]) -> list[Served]:
    """Models with the bounds that `MODEL=MIN:MAX` names. UserError for another model, or for bounds that are none."""
    found = {model.name: model for model in models}
    for text in wanted:
        match = _BOUNDS.match(text)
        if match is None:
            raise UserError(f"--replicas {text}: write MODEL=MIN:MAX, as in student=0:4")
        bounds = Replicas(int(match["min"]), int(match["max"]))
        if not 0 <= bounds.min <= bounds.max or bounds.max == 0:
            raise UserError(f"--replicas {text}: MAX must be at least MIN, and at least 1")
        found[match["model"]] = replace(_named(match["model"], found, f"--replicas {text}"), replicas=bounds)
    return list(found.values())


def beside(models: Sequence[Served], wanted: Sequence[str]) -> list[Served]:
    """Models with the LoRA adapters that `MODEL/NAME=FOLDER` names. UserError for one that does not fit its model."""
    found = {model.name: model for model in models}
    for text in wanted:
        match = _ADAPTER.match(text)
        if match is None:
            raise UserError(f"--adapter {text}: write MODEL/NAME=FOLDER, as in student/french=adapters/french")
        model = _named(match["model"], found, f"--adapter {text}")
        name = f"{match['model']}/{match['name']}"
        if name in model.names:
            raise UserError(f"--adapter {text}: {name} is named twice")
        added = adapters.beside(name, Path(match["folder"]).expanduser(), model.folder, f"--adapter {text}")
        found[model.name] = replace(model, adapters=(*model.adapters, added))
    return list(found.values())


def _named(name: str, models: dict[str, Served], where: str) -> Served:
    if name not in models:
        raise UserError(f"{where}: there is no such model to serve; there is {', '.join(models)}")
    return models[name]
