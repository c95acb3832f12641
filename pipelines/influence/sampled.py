"""A row's influence to first order over a fixed sample of the weights: some rows of every matrix.

Knows matrices, what goes into them and comes out. Does not know rows of data or losses. Most of a whole first-order
score's work is every weight's gradient and AdamW's step of it. Here only what goes back through the layers is made, and
of each matrix's gradient, the product of that with the matrix's inputs, the sampled rows. What they say is scaled up to
all rows of their matrix. Embeddings, norms and biases are left out. (Measured: `benchmarks/RESULTS.md`.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from pipelines.influence.state import Gradients, Warm

SHARE = 16  # one in so many rows
Seen = dict[str, tuple[Tensor, Tensor]]  # by the matrix's name: its input, its output on the graph


@dataclass(frozen=True)
class _Part:
    """The sampled rows of one matrix [rows, inputs], each with what a step of it takes."""

    module: nn.Module
    at: Tensor  # which rows
    scale: float  # as many times as many the matrix has
    slope: Tensor
    weight: Tensor
    first: Tensor
    second: Tensor


class SampledSlope:
    """The reference loss's slope at a sample of a warm student's weights."""

    def __init__(self, warm: Warm, slope: Gradients) -> None:
        self._optimizer = warm.optimizer
        self._parts: dict[str, _Part] = {}
        chance = torch.Generator().manual_seed(SHARE)
        for name, module in _matrices(warm):
            rows = max(1, module.out_features // SHARE)
            at = torch.randperm(module.out_features, generator=chance)[:rows].to(module.weight.device)
            first, second = warm.moments(name)
            weight = module.weight.detach()[at]
            scale = module.out_features / rows
            self._parts[name] = _Part(module, at, scale, slope[name][at], weight, first[at], second[at])
        self._null_rise = self._rise({})

    def influence(self, loss: Tensor, seen: Seen) -> float:
        """Of the row whose loss this is, by what goes back through the layers; `seen` on the way to the loss."""
        return self._null_rise - self._rise(self._gradients(loss, seen))

    def _rise(self, gradients: Gradients) -> float:
        """⟨∇L_ref, Δθ⟩, estimated from the sample; without gradients of the null step."""
        along = []
        for name, part in self._parts.items():
            delta = self._optimizer.delta(part.weight, part.first, part.second, gradients.get(name))
            along.append(part.scale * (part.slope * delta).sum(dtype=torch.float64))
        return float(torch.stack(along).sum())

    def _gradients(self, loss: Tensor, seen: Seen) -> Gradients:
        back = torch.autograd.grad(loss, [output for _, output in seen.values()])
        return {
            name: after.flatten(0, -2)[:, self._parts[name].at].T @ given.flatten(0, -2)
            for (name, (given, _)), after in zip(seen.items(), back, strict=True)
        }

    @contextmanager
    def watched(self) -> Iterator[Seen]:
        """What goes into each matrix and comes out of it, in a pass."""
        seen: Seen = {}

        def watch(name: str, _: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = given[0].detach(), output

        hooks = [part.module.register_forward_hook(partial(watch, name)) for name, part in self._parts.items()]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()


def _matrices(warm: Warm) -> Iterator[tuple[str, nn.Linear]]:
    """Those that are trained, by their weights' names; without the head, which is often the embedding too."""
    head = warm.model.get_output_embeddings()
    for name, module in warm.model.named_modules():
        if isinstance(module, nn.Linear) and module is not head and f"{name}.weight" in warm.trained:
            yield f"{name}.weight", module
