"""How much one row helps one student: one optimizer step on it, and what the reference loss says (arXiv 2410.14208).

Knows the student's state and the reference set. Does not know where rows come from or what is done with the figures.

    I(row) = L_ref(θ + Δ_null) - L_ref(θ + Δ_row)        above 0: the row helped

The paper has L_ref(θ) in the first place. But AdamW moves the weights without any news, by its moments, and that drift
is part of every Δ_row: with 10 warm-up steps of a 135M model it is nine times as large as what rows differ by, and
decides every sign. So the baseline is the null step: the same moments, and a gradient of zero.

`first_order` replaces the measured loss by its slope, with the row's own AdamW step as it would be made:

    I(row) ≈ -⟨∇L_ref(θ + Δ_null), Δ_row - Δ_null⟩

The slope is taken after the null step, since this is where the difference starts: what is left out is quadratic in
Δ_row - Δ_null alone. Taken at θ it would be wrong by the curvature along the larger drift, too.
"""

from functools import cached_property
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from pipelines.core.errors import UserError
from pipelines.core.records import Dropped, Influence, InfluenceMethod, TrainExample
from pipelines.influence.nats import gradient, nats
from pipelines.influence.reference import Reference
from pipelines.influence.sampled import SampledSlope
from pipelines.influence.sharded import total
from pipelines.influence.state import Gradients, Warm
from pipelines.influence.work import STAGE
from pipelines.train.batches import collate

TOLERANCE = 4.0  # times the noise: the restored weights are the same bits, so only rounding may move their loss


class BaselineMoved(RuntimeError):
    """The restored weights no longer give the loss that they gave: what was measured since the last look is void."""


class Probe:
    """One student and one reference set, for any number of rows. Each starts from the same weights and moments."""

    def __init__(self, warm: Warm, reference: Reference) -> None:
        self._warm, self._reference = warm, reference
        self._window = _window(warm.model)
        if reference.longest > self._window:
            raise UserError(
                f"a reference example has {reference.longest} tokens, and the student reads {self._window}; leave out "
                "what is longer"
            )
        self.before = reference.loss(warm.model)
        self.noise = reference.noise(warm.model)
        self.null_step = self._after(None)
        if not isfinite(self.before + self.null_step):
            raise UserError(
                f"the student's loss on the reference set is no number (before a step {self.before}, after one "
                f"{self.null_step}); train it again with a lower learning_rate"
            )

    def influence(self, example: TrainExample, method: InfluenceMethod) -> Influence | Dropped:
        """By one of the methods."""
        ways = {"exact": self.exact, "first_order": self.first_order, "sampled": self.sampled}
        return ways[method](example)

    def exact(self, example: TrainExample) -> Influence | Dropped:
        """One step on this row alone, the reference loss after it, and back."""
        loss = self._own_loss(example)
        if isinstance(loss, Dropped):
            return loss
        influence = self.null_step - self._after(gradient([loss], self._warm.trained))
        return self._found(example, "exact", influence, loss, self.noise)

    def first_order(self, example: TrainExample) -> Influence | Dropped:
        """What the slope of the reference loss says of this row's step: one backward pass, and no reference pass."""
        null_rise = self._null_rise  # before the loss: it moves the weights that are on its graph
        loss = self._own_loss(example)
        if isinstance(loss, Dropped):
            return loss
        influence = null_rise - self._rise(gradient([loss], self._warm.trained))
        return self._found(example, "first_order", influence, loss)

    def sampled(self, example: TrainExample) -> Influence | Dropped:
        """The same of a fixed sample of the weights."""
        slope = self._sampled_slope
        with slope.watched() as seen:
            loss = self._own_loss(example)
        if isinstance(loss, Dropped):
            return loss
        return self._found(example, "sampled", slope.influence(loss, seen), loss)

    def check(self) -> None:
        """Measure the restored weights again. Raises BaselineMoved where their loss is another."""
        now = self._loss()
        if not abs(now - self.before) <= TOLERANCE * self.noise:  # of a NaN neither side is true
            raise BaselineMoved(
                f"the reference loss of the restored weights was {self.before:.9f} and is {now:.9f}, which is more "
                f"than {TOLERANCE:g} times the noise ({self.noise:.1e}): what was measured since the last look is void"
            )

    def _loss(self) -> float:
        """The reference loss of the weights as they are."""
        return self._reference.loss(self._warm.model)

    def _after(self, gradients: Gradients | None) -> float:
        """The reference loss after one step."""
        with self._warm.applied(self._warm.step(gradients)):
            return self._loss()

    @cached_property
    def _slope(self) -> Gradients:
        with self._warm.applied(self._warm.step(None)):
            return self._reference.gradient(self._warm.model, self._warm.trained)

    @cached_property
    def _sampled_slope(self) -> SampledSlope:
        return SampledSlope(self._warm, self._slope)

    @cached_property
    def _null_rise(self) -> float:
        return self._rise(None)

    def _rise(self, gradients: Gradients | None) -> float:
        """⟨∇L_ref, Δθ⟩ of one step, whose deltas are made one parameter at a time."""
        along = {
            name: (slope * self._warm.delta(name, gradients and gradients[name])).sum(dtype=torch.float64)
            for name, slope in self._slope.items()
        }
        return float(total(along, self._warm.trained))

    def _own_loss(self, example: TrainExample) -> Tensor | Dropped:
        """The row's at the restored weights, on the graph, unless there is no step to be made of it."""
        if (tokens := max(len(example.token_ids), len(example.encoder_ids))) > self._window:
            return _dropped(example, "too long", f"{tokens} tokens, the student reads {self._window}")
        if not any(weight > 0 for weight in example.weights[1:]):
            return _dropped(example, "nothing to learn", "no token has a weight")
        loss = _row_loss(self._warm.model, example)
        if not isfinite(own := float(loss.detach())):
            return _dropped(example, "no number", f"its own loss is {own}")
        return loss

    def _found(
        self, example: TrainExample, method: InfluenceMethod, influence: float, loss: Tensor, noise: float = 0.0
    ) -> Influence | Dropped:
        if not isfinite(influence):
            return _dropped(example, "no number", f"its step's influence is {influence}")
        after, own = self.null_step - influence, float(loss.detach())
        return Influence("", example.id, method, influence, self.before, after, self.null_step, noise, own)


def _row_loss(model: Any, example: TrainExample) -> Tensor:
    """Σ weight·loss over the number of weighted tokens, as a training step on this row alone has it."""
    batch = collate([example], {}).to(model.device)
    return nats(model, batch, batch.weights_N).sum() / len(batch.positions_N)


def _window(model: Any) -> float:
    """How many tokens the model can read; T5's relative positions have no end."""
    most: float = getattr(model.config, "max_position_embeddings", float("inf"))
    return most


def _dropped(example: TrainExample, reason: str, detail: str) -> Dropped:
    return Dropped(example.id, STAGE, reason, "", detail)
