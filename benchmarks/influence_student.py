"""A student that a few plain AdamW steps warmed up, and rows to probe it with. Used by the scripts beside it.

Knows torch and the product's packs, losses and state: no Ray, no DeepSpeed. The rate rises over all steps to its peak,
as in arXiv 2410.14208; nothing decays the weights.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Learn, Source
from pipelines.core.records import TrainExample
from pipelines.influence.nats import nats
from pipelines.influence.probe import Probe
from pipelines.influence.state import AdamW, Gradients, Warm
from pipelines.train import given_data
from pipelines.train.batches import collate
from pipelines.train.examples import of_conversation


@dataclass(frozen=True)
class Student:
    """A model in fp32 with its optimizer, as the steps left them, and what one more step needs of it."""

    model: Any
    optimizer: torch.optim.AdamW
    settings: AdamW
    first: Mapping[str, Tensor]
    second: Mapping[str, Tensor]

    def warm(self) -> Warm:
        return Warm(self.model, self.settings, self.first, self.second)


class Sloped(Probe):
    """A probe whose slope others may use, too."""

    @property
    def slope(self) -> Gradients:
        """∇L_ref after the null step."""
        return self._slope


def warm_up(model: Any, steps: Sequence[Sequence[TrainExample]], peak: float, betas: tuple[float, float]) -> Student:
    """One AdamW step on each of these batches of rows."""
    optimizer = torch.optim.AdamW(model.parameters(), peak, betas, weight_decay=0.0, fused=True)
    for number, rows in enumerate(steps, 1):
        optimizer.param_groups[0]["lr"] = peak * number / len(steps)
        mean_nats(model, rows).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    first, second = (
        {name: optimizer.state[parameter][moment] for name, parameter in model.named_parameters()}
        for moment in ("exp_avg", "exp_avg_sq")
    )
    settings = AdamW(peak, betas, optimizer.param_groups[0]["eps"], 0.0, len(steps))
    return Student(model, optimizer, settings, first, second)


def mean_nats(model: Any, rows: Sequence[TrainExample]) -> Tensor:
    """Nats per weighted token of these rows, on the graph: the loss of a training step on them."""
    batch = collate(rows, {}).to(model.device)
    return nats(model, batch, batch.weights_N).sum() / len(batch.positions_N)


def examples(file: str, format: str, folder: Path, max_tokens: int, seed: int) -> Iterator[TrainExample]:
    """The file's rows in an order that the seed draws, rendered for the model; those that are too long left out."""
    tokenizer = ChatTokenizer(str(folder))
    for row in given_data.drawn("the file of rows", Source.model_validate({"path": file, "format": format}), seed):
        made = of_conversation(row, tokenizer, Learn(), max_tokens)
        if isinstance(made, TrainExample):
            yield made


def layer_of(name: str) -> int:
    """Which layer the weight of this name is of; -8 for those of none."""
    found = re.search(r"\.layers\.(\d+)\.", name)
    return int(found[1]) if found else -8
