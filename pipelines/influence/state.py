"""A student as its training left it, for one more step at a time: weights, AdamW's moments, and the way back.

Knows the folders `model/` and `warm/` of a student's stage, and AdamW (arXiv 1711.05101, algorithm 2). Does not know
examples or losses, nor what a step is for. With gradient g, moments m and v, and t - 1 steps done:

    m' = β1·m + (1 - β1)·g        v' = β2·v + (1 - β2)·g²
    Δθ = -lr · ( m'/(1 - β1^t) / (√(v'/(1 - β2^t)) + ε) + decay·θ )

Nothing is clipped, as a probe's step is not (arXiv 2410.14208): a row's effect is asked for, whatever its size.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pipelines.core.config import LoRA
from pipelines.core.errors import UserError
from pipelines.influence.sharded import mine, part_of, shard
from pipelines.train import lora
from pipelines.train.attention import load
from pipelines.train.job import MODEL
from pipelines.train.keep import WARM
from pipelines.train.layers import layer_list

_KINDS = ("masters", "exp_avg", "exp_avg_sq")
_AGAIN = "train the student with `student.train.warm: true`"

Gradients = Mapping[str, Tensor]  # by the parameter's name in the model
Deltas = Mapping[str, Tensor]


@dataclass(frozen=True)
class AdamW:
    """The optimizer's settings, and how many steps it has made."""

    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    steps_done: int

    def delta(self, weight: Tensor, first: Tensor, second: Tensor, gradient: Tensor | None) -> Tensor:
        """Δθ of one further step, of weights with these moments; without a gradient that which the moments make."""
        (beta1, beta2), t = self.betas, self.steps_done + 1
        first, second = beta1 * first, beta2 * second
        if gradient is not None:
            first.add_(gradient, alpha=1 - beta1)
            second.addcmul_(gradient, gradient, value=1 - beta2)
        root = second.div_(1 - beta2**t).sqrt_().add_(self.eps)
        direction = first.div_(1 - beta1**t).div_(root)
        return direction.add_(weight, alpha=self.weight_decay).mul_(-self.lr)


class Warm:
    """A model in fp32 whose trained weights are the masters, and all that one more step needs.

    With P the trained weights in fp32, 3·P stay: weights and two moments. A step's gradient and deltas take P each,
    and so do the weights that are kept aside while deltas are applied: 6·P at most.
    """

    def __init__(self, model: Any, optimizer: AdamW, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
        """`first` and `second` are the moments m and v of every weight that is trained; the others stay as they are."""
        self.model, self.optimizer = model, optimizer
        self._first, self._second = first, second
        self.trained: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in first)
            if name in first:
                self.trained[name] = parameter
        self._weights = {name: mine(parameter.detach()) for name, parameter in self.trained.items()}
        assert self.trained.keys() == first.keys() == second.keys(), "moments of weights that the model does not have"

    @classmethod
    def read(
        cls, stage: Path, device: torch.device | str = "cpu", every_layer: int = 1, *, is_sharded: bool = False
    ) -> "Warm":
        """Of a student's finished stage. The model is in evaluation mode: a probe draws no dropout.

        Where `every_layer` is 4, only the trained weights of every fourth layer are stepped: P counts those alone.
        Sharded, each process of the group has its part of all of this.
        """
        optimizer = _settings(stage / WARM)
        masters, first, second = _tensors(stage / WARM)
        model = _model(stage).to(device)
        parameters = dict(model.named_parameters())
        for name, master in masters.items():
            if name not in parameters or parameters[name].shape != master.shape:
                raise UserError(f"{stage}: {MODEL}/ and {WARM}/ are of two students, as {name} shows; {_AGAIN}")
            with torch.no_grad():
                parameters[name].copy_(master)
        if _adapters(stage):
            lora.take_out(model)
        stepped = [name for name in masters if every_layer == 1 or _is_among(parameters[name], model, every_layer)]
        if not stepped:
            raise UserError(f"{stage}: training left every layer as it was that probe.every_layer would step")
        if is_sharded:
            shard(model)
            parameters = dict(model.named_parameters())
        moments = [
            {name: part_of(each[name].to(device), parameters[name]) for name in stepped} for each in (first, second)
        ]
        return cls(model, optimizer, *moments)

    def step(self, gradients: Gradients | None) -> Deltas:
        """Δθ of one further step, which is not made. None is the null step, that the moments alone make: g = 0."""
        return {name: self.delta(name, None if gradients is None else gradients[name]) for name in self.trained}

    def delta(self, name: str, gradient: Tensor | None) -> Tensor:
        """Δθ of one parameter, in its shape; of a sharded one, as all here, of this process's part."""
        return self.optimizer.delta(self._weights[name], *self.moments(name), gradient)

    def moments(self, name: str) -> tuple[Tensor, Tensor]:
        """m and v of one parameter, in its shape."""
        return self._first[name], self._second[name]

    @contextmanager
    def applied(self, deltas: Deltas) -> Iterator[None]:
        """The weights moved by these deltas, and then the very same bits as before.

        They are put back from a copy: (θ + Δ) - Δ is θ in exact arithmetic only.
        """
        kept = {name: self._weights[name].clone() for name in deltas}
        try:
            for name, delta in deltas.items():
                self._weights[name].add_(delta)
            yield
        finally:
            for name, value in kept.items():
                self._weights[name].copy_(value)


def _model(stage: Path) -> Any:
    """In fp32; where adapters were trained they are beside its weights, which still hold them, too."""
    model = load(stage / MODEL, torch.float32)
    if config := _adapters(stage):
        lora.add(model, config)
    return model


def _adapters(stage: Path) -> LoRA | None:
    file = stage / WARM / lora.FILE
    return LoRA.model_validate_json(file.read_text(encoding="utf-8")) if file.is_file() else None


def _settings(warm: Path) -> AdamW:
    lacking = [file for file in ("optimizer.json", *map(_file, _KINDS)) if not (warm / file).is_file()]
    if lacking:
        raise UserError(f"{warm}, from which a probe of influence starts, lacks {', '.join(lacking)}; {_AGAIN}")
    kept = json.loads((warm / "optimizer.json").read_text(encoding="utf-8"))
    settings = AdamW(**{**kept, "betas": tuple(kept["betas"])})
    if not settings.lr:
        raise UserError(
            f"{warm}: the learning rate had fallen to 0, so that one more step changes nothing; train the student "
            "with a `final_learning_rate` above 0, or with `schedule: ramp`, which ends at the peak"
        )
    return settings


def _is_among(parameter: Tensor, model: Any, every_layer: int) -> bool:
    """Of every so many layers the last."""
    taken = layer_list(model)[every_layer - 1 :: every_layer]
    return any(each is parameter for layer in taken for each in layer.parameters())


def _tensors(warm: Path) -> list[dict[str, Tensor]]:
    """Masters and moments, each by the parameter's name."""
    masters, first, second = (load_file(warm / _file(kind)) for kind in _KINDS)
    lacking = sorted({*masters, *first, *second} - (masters.keys() & first.keys() & second.keys()))
    if lacking:
        raise UserError(f"{warm} lacks the master or a moment of {lacking[0]}; {_AGAIN}")
    return [masters, first, second]


def _file(kind: str) -> str:
    return f"{kind}.safetensors"
