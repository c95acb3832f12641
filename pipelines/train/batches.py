"""Examples become packed batches: several short examples in one row, attention kept inside each.

Knows examples, their soft targets and shapes. Does not know models. Position ids restart at every example; with no
attention mask and no cache that tells transformers' own attention where one example ends (ours takes the lengths).
What an encoder reads lies beside, as flat; its model pads both (`encoder_decoder.py`).
Shape letters: T tokens of a pack, S tokens that an encoder reads, N weighted tokens, K candidates.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from pipelines.core.records import SoftTargets, TrainExample
from pipelines.core.signals import unpack
from pipelines.train.examples import PREFERENCE
from pipelines.train.losses.top_k import ABSENT

T = TypeVar("T")

PADDED = 2 * ABSENT  # the log-probability of a candidate that is not there


@dataclass(frozen=True)
class Batch:
    """One pack. Row n of everything with an N belongs to the token at `positions_N[n]`."""

    ids_1T: Tensor
    position_ids_1T: Tensor
    positions_N: Tensor  # index of each weighted token; its prediction is made one token earlier
    targets_N: Tensor
    weights_N: Tensor
    example_N: Tensor  # which of the pack's examples a token belongs to
    ids: tuple[str, ...]  # of each example
    lengths: tuple[int, ...]  # tokens of each example
    component: tuple[str, ...]  # of each example
    group: tuple[str, ...]  # of each example
    signal_ids_NK: Tensor | None
    signal_logprobs_NK: Tensor | None
    has_signal_N: Tensor  # 1 where a soft target exists
    encoder_ids_S: Tensor
    encoder_lengths: tuple[int, ...]  # of each example; () without an encoder

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on `device`."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return Batch(**{n: v.to(device) if isinstance(v, Tensor) else v for n, v in moved.items()})


def order(examples: Sequence[TrainExample], epochs: int, per_step: int, seed: int) -> list[list[int]]:
    """The whole run's steps: indices of examples, shuffled anew each epoch. The last step may be smaller.

    A group is in one step, as one of the `per_step`.
    """
    steps = []
    for epoch in range(epochs):
        shuffled = _groups(examples)
        random.Random(f"{seed}/{epoch}").shuffle(shuffled)
        steps += [list(chain(*shuffled[at : at + per_step])) for at in range(0, len(shuffled), per_step)]
    return steps


def share(step: Sequence[TrainExample], rank: int, world: int) -> list[TrainExample]:
    """A rank's part of one step, with whole groups; may be empty, and then that rank still takes part."""
    return [step[index] for index in chain(*_groups(step)[rank::world])]


def _groups(examples: Sequence[TrainExample]) -> list[list[int]]:
    """Indices of each group's examples, in the order in which the groups begin; an example without one is alone."""
    found: dict[str, list[int]] = {}
    for index, example in enumerate(examples):
        found.setdefault(example.group or str(index), []).append(index)
    return list(found.values())


def packs(examples: Sequence[TrainExample], tokens_per_pack: int) -> list[list[TrainExample]]:
    """Examples in order, in as few rows as their order allows; one longer than the bound has its own row.

    Those of an encoder-decoder, whose rows are padded, are put in order of length first, and padding counts.
    """
    is_padded = any(e.encoder_ids for e in examples)
    shown = sorted(examples, key=lambda e: (len(e.encoder_ids), len(e.token_ids))) if is_padded else examples
    room = _padded if is_padded else _flat
    rows: list[list[TrainExample]] = []
    for whole in _inseparable(shown):
        if not rows or room([*rows[-1], *whole]) > tokens_per_pack:
            rows.append([])
        rows[-1] += whole
    return rows


def _inseparable(examples: Sequence[TrainExample]) -> list[list[TrainExample]]:
    """What must be in one pack: the two answers of a preference, whose loss is one; all others alone."""
    if any(example.component in PREFERENCE for example in examples):
        return [[examples[index] for index in group] for group in _groups(examples)]
    return [[example] for example in examples]


def _flat(row: Sequence[TrainExample]) -> int:
    return sum(len(e.token_ids) for e in row)


def _padded(row: Sequence[TrainExample]) -> int:
    return len(row) * (max(len(e.encoder_ids) for e in row) + max(len(e.token_ids) for e in row))


def collate(examples: Sequence[TrainExample], signals: Mapping[str, SoftTargets]) -> Batch:
    """One pack as tensors. A signal whose positions are not the example's weighted tokens is our own bug."""
    ids: list[int] = []
    position_ids: list[int] = []
    positions: list[int] = []
    weights: list[float] = []
    owner: list[int] = []
    for n, example in enumerate(examples):
        weighted = _weighted(example)
        positions += [len(ids) + t for t in weighted]
        weights += [example.weights[t] for t in weighted]
        owner += [n] * len(weighted)
        ids += example.token_ids
        position_ids += range(len(example.token_ids))
    ids_1T = torch.tensor([ids], dtype=torch.long)
    positions_N = torch.tensor(positions, dtype=torch.long)
    signal_ids_NK, signal_logprobs_NK, has_signal_N = _signals(examples, signals)
    return Batch(
        ids_1T=ids_1T,
        position_ids_1T=torch.tensor([position_ids], dtype=torch.long),
        positions_N=positions_N,
        targets_N=ids_1T[0, positions_N],
        weights_N=torch.tensor(weights, dtype=torch.float32),
        example_N=torch.tensor(owner, dtype=torch.long),
        ids=tuple(e.id for e in examples),
        lengths=tuple(len(e.token_ids) for e in examples),
        component=tuple(e.component for e in examples),
        group=tuple(e.group for e in examples),
        signal_ids_NK=signal_ids_NK,
        signal_logprobs_NK=signal_logprobs_NK,
        has_signal_N=has_signal_N,
        encoder_ids_S=torch.tensor([id for e in examples for id in e.encoder_ids], dtype=torch.long),
        encoder_lengths=tuple(len(e.encoder_ids) for e in examples if e.encoder_ids),
    )


def _weighted(example: TrainExample) -> list[int]:
    return [t for t, weight in enumerate(example.weights) if weight > 0 and t > 0]


def _signals(
    examples: Sequence[TrainExample], signals: Mapping[str, SoftTargets]
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Soft targets of all weighted tokens in order; rows of zeros where an example has none."""
    found = [signals.get(e.id) for e in examples]
    K = max((s.k for s in found if s is not None), default=0)
    ids, logprobs, has = [], [], []
    for example, signal in zip(examples, found, strict=True):
        weighted = _weighted(example)
        has += [0.0 if signal is None else 1.0] * len(weighted)
        if signal is None:
            ids.append(np.zeros((len(weighted), K), dtype=np.int64))
            logprobs.append(np.full((len(weighted), K), PADDED, dtype=np.float32))
            continue
        assert list(signal.positions) == weighted, f"signal {signal.id} was made for other tokens of {example.id}"
        ids_PK, logprobs_PK = unpack(signal)
        missing = K - signal.k
        ids.append(np.pad(ids_PK, ((0, 0), (0, missing))))
        logprobs.append(np.pad(logprobs_PK, ((0, 0), (0, missing)), constant_values=PADDED))
    has_N = torch.tensor(has, dtype=torch.float32)
    if not K:
        return None, None, has_N
    return torch.from_numpy(np.concatenate(ids)), torch.from_numpy(np.concatenate(logprobs)), has_N
