"""What a student's distributions are compared with: a teacher's candidates on disk, or a model that runs beside it.

Knows how log-probabilities of both come to be over the same outcomes. Does not know divergences or coefficients.
Shape letters: T tokens of a pack, N weighted tokens, n of those in one chunk, V vocabulary, O outcomes, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from pipelines.core.config import Train
from pipelines.train.attention import Looked
from pipelines.train.batches import Batch
from pipelines.train.head import Head, run_body
from pipelines.train.losses.divergences import log_softmax
from pipelines.train.losses.top_k import outcomes


class Reference(Protocol):
    """Distributions that predict a batch's weighted tokens."""

    def beside(self, student_nV: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """(student, reference) log-probabilities [n, O] over the same outcomes, of these rows of the N."""
        ...


@dataclass(frozen=True)
class Captured:
    """A teacher's top k, scored before training. `tokens`: how many token ids it knows; None: the student's."""

    ids_NK: Tensor
    logprobs_NK: Tensor
    tokens: int | None = None

    def beside(self, student_nV: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        return outcomes(_among(student_nV, self.tokens), self.ids_NK[rows], self.logprobs_NK[rows])


@dataclass(frozen=True)
class Online:
    """A model's whole distributions, made chunk by chunk of its final hidden states."""

    hidden_ND: Tensor
    head: Head
    tokens: int | None = None

    def beside(self, student_nV: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            reference_nV = log_softmax(self.head(self.hidden_ND[rows]))
        shared = min(student_nV.shape[1], reference_nV.shape[1], self.tokens or reference_nV.shape[1])
        return _among(student_nV, shared), _among(reference_nV, shared)


@dataclass(frozen=True)
class Beside:
    """All that one batch is compared with."""

    teacher: Reference | None = None
    base: Reference | None = None
    looked: Sequence[Looked] | None = None  # the teacher's attention, by layer
    reference_B: Tensor | None = None  # the negative log-likelihood of each example before training, in nats


class Companions:
    """Frozen models that read what the student reads: the teacher, and the model that the student was.

    Each worker holds a whole copy of them. `tokens`: how many token ids the teacher knows. `reference`: the negative
    log-likelihood of examples before training, by id, which was measured once and needs no model here.
    """

    def __init__(
        self,
        config: Train,
        teacher: Any | None,
        base: Any | None,
        tokens: int | None,
        reference: Mapping[str, float] | None = None,
    ) -> None:
        self._config, self._teacher, self._base, self._tokens = config, teacher, base, tokens
        self._reference = reference or {}

    @torch.no_grad()
    def read(self, batch: Batch) -> Beside:
        """One forward pass of each model that a loss asks for."""
        teacher: Reference | None = self._captured(batch)
        looked: list[Looked] | None = [] if self._config.has("attention") else None
        if self._teacher is not None:
            online = _online(self._teacher, batch, distilled_at(batch, self._config), self._tokens, looked)
            teacher = online if self._config.kd.source == "online" else teacher
        base = None if self._base is None else _online(self._base, batch, batch.positions_N - 1)
        return Beside(teacher, base, looked, self._before(batch))

    def _before(self, batch: Batch) -> Tensor | None:
        if not self._config.has("dpo"):
            return None
        values = [self._reference[id] if id else 0.0 for id in batch.ids]  # a weightless example has no id
        return torch.tensor(values, device=batch.ids_1T.device)

    def _captured(self, batch: Batch) -> Captured | None:
        if batch.signal_ids_NK is None or batch.signal_logprobs_NK is None:
            return None
        return Captured(batch.signal_ids_NK, batch.signal_logprobs_NK, self._tokens)


def distilled_at(batch: Batch, config: Train) -> Tensor:
    """Where in a pack a teacher is imitated [N]: one token before each weighted one, as that is what predicts it."""
    return batch.positions_N if config.unshifted else batch.positions_N - 1


def _online(
    model: Any, batch: Batch, at_N: Tensor, tokens: int | None = None, looked: list[Looked] | None = None
) -> Online:
    more = {} if looked is None else {"looked": looked}
    hidden_TD, head = run_body(model, batch, **more)
    return Online(hidden_TD[at_N], head, tokens)


def _among(logprobs_NV: Tensor, tokens: int | None) -> Tensor:
    """The distribution among the first token ids: a vocabulary may be padded with some that no tokenizer knows."""
    if tokens is None or tokens >= logprobs_NV.shape[1]:
        return logprobs_NV
    return log_softmax(logprobs_NV[:, :tokens])
