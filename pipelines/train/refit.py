"""What removed layers did is given back to those that are left, by least squares and without training.

Knows hidden states: from the first gap upward, each layer's MLP output map is changed so that the student's hidden
state comes as near as it can to the teacher's at the same place. That is a ridge regression per layer: a closed form,
one pass over the rows, nothing to tune but the ridge. It gives what training on tens of thousands of tokens gives,
and training goes on from there (benchmarks/RESULTS.md).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.core.records import TrainExample
from pipelines.train.batches import Batch, collate, packs
from pipelines.train.head import run_body
from pipelines.train.layers import Given, keep_layers, layer_list, replace_layers

TOKENS_PER_PACK = 1024


def refit(
    model: Any, kept: Sequence[int], examples: Sequence[TrainExample], ridge: float, shown: Callable[[int], None]
) -> Any:
    """The teacher's `model`, changed in place: only the `kept` layers are left, refitted on these rows.

    `ridge` is in units of the mean square of the map's inputs. `shown` is called with the number of layers done.
    """
    with torch.inference_mode():
        walk = _Walk(model, [collate(pack, {}) for pack in packs(examples, TOKENS_PER_PACK)])
        _refit_each(walk, kept, ridge, shown)
    keep_layers(model, kept)
    return model


def _refit_each(walk: "_Walk", kept: Sequence[int], ridge: float, shown: Callable[[int], None]) -> None:
    wanted = got = walk.embedded()  # hidden states [1, T, D] of teacher and student, at the same place
    walked = 0
    for place, layer in enumerate(kept):
        above = kept[place + 1] if place + 1 < len(kept) else len(walk)
        for teachers in range(walked, above):
            wanted = walk.through(teachers, wanted)
        walked = above
        if above == place + 1:  # nothing is missing so far
            got = wanted
        else:
            _fit(walk, layer, got, wanted, ridge)
            got = walk.through(layer, got)
        shown(place + 1)


def _fit(walk: "_Walk", layer: int, got: Sequence[Tensor], wanted: Sequence[Tensor], ridge: float) -> None:
    """Change one layer's output map: argmin ‖X·C - (wanted - reached)‖² + ridge·mean(X²)·‖C‖², W += Cᵀ."""
    projection = _output_map(walk.layers[layer])
    width_in, width_out = projection.in_features, projection.out_features
    device = projection.weight.device
    gram, moment = torch.zeros(width_in, width_in, device=device), torch.zeros(width_in, width_out, device=device)
    for batch, hidden, target in zip(walk.batches, got, wanted, strict=True):
        inputs: list[Tensor] = []
        hook = projection.register_forward_pre_hook(lambda _, args, inputs=inputs: inputs.append(args[0]))
        reached = walk.one(layer, hidden, batch)
        hook.remove()
        # The first token's state is an outlier (an attention sink) that no fit should bend to.
        later_T = (batch.position_ids_1T[0] > 0).to(device)
        x_TI = inputs[0].reshape(-1, width_in)[later_T].float()
        gram += x_TI.T @ x_TI
        moment += x_TI.T @ (target - reached)[0, later_T].float()
    gram.diagonal().add_(ridge * gram.diagonal().mean())
    change = torch.linalg.solve(gram.double(), moment.double()).T
    projection.weight.copy_((projection.weight.double() + change).to(projection.weight.dtype))


def _output_map(layer: nn.Module) -> nn.Linear:
    """The last linear map of a layer's MLP, whose output is added to the hidden state."""
    projection = getattr(getattr(layer, "mlp", None), "down_proj", None)
    if not isinstance(projection, nn.Linear) or hasattr(layer, "post_feedforward_layernorm"):
        raise ValueError(
            f"{type(layer).__name__} adds no plain MLP output to its hidden state, so it cannot be refitted; "
            "leave student.refit out of the recipe"
        )
    return projection


class _Walk:
    """A model's layers, run one at a time over the same batches."""

    def __init__(self, model: Any, batches: Sequence[Batch]) -> None:
        self.batches = batches
        self._model = model
        self._stack = layer_list(model)
        self.layers = list(self._stack)

    def __len__(self) -> int:
        return len(self.layers)

    def through(self, layer: int, hidden: Sequence[Tensor]) -> list[Tensor]:
        """Every batch through one layer."""
        return [self.one(layer, h, batch) for h, batch in zip(hidden, self.batches, strict=True)]

    def one(self, layer: int, hidden_1TD: Tensor, batch: Batch) -> Tensor:
        """One batch through one layer, which keeps its number: a model may tell kinds of layer apart by it."""
        outputs: list[Tensor] = []
        hook = self.layers[layer].register_forward_hook(lambda _, __, out: outputs.append(_first(out)))
        self._run([*[Given(hidden_1TD)] * layer, self.layers[layer]], batch)
        hook.remove()
        return outputs[0]

    def embedded(self) -> list[Tensor]:
        """What the first layer is given of every batch."""
        inputs: list[Tensor] = []
        hook = self.layers[0].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        for batch in self.batches:
            self._run(self.layers[:1], batch)
        hook.remove()
        return inputs

    def _run(self, layers: Sequence[nn.Module], batch: Batch) -> None:
        replace_layers(self._model, self._stack, layers)
        run_body(self._model, batch)
        replace_layers(self._model, self._stack, self.layers)


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output
