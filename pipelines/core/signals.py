"""Top-k distributions, packed small: ids of as many bytes as they need, and float16 log-probabilities.

Knows the layout of `SoftTargets`, its two directions, and what it leaves out. 4 bytes per candidate where every id is
below 65,536, and 5 in larger vocabularies: at k = 64, 256 or 320 bytes per token before the files' compression.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.core.records import SoftTargets


def pack(
    id: str,
    example_id: str,
    positions: tuple[int, ...],
    token_ids_PK: npt.NDArray[Any],
    logprobs_PK: npt.NDArray[Any],
) -> SoftTargets:
    """Arrays [positions, k] to a record; rows are sorted by falling probability."""
    P, K = token_ids_PK.shape
    assert len(positions) == P, f"{P} distributions for {len(positions)} positions"
    order_PK = np.argsort(-logprobs_PK, axis=1, kind="stable")
    ids_PK = np.take_along_axis(token_ids_PK, order_PK, axis=1).astype("<u4")
    assert ids_PK.max(initial=0) < 2**24, "a vocabulary of more than 16 million"
    size = 2 if ids_PK.max(initial=0) < 2**16 else 3
    values_PK = np.take_along_axis(logprobs_PK, order_PK, axis=1).astype("<f2")
    low_bytes_PKb = ids_PK.view(np.uint8).reshape(P, K, 4)[:, :, :size]
    return SoftTargets(id, example_id, K, positions, low_bytes_PKb.tobytes(), values_PK.tobytes())


def unpack(record: SoftTargets) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """(token ids [P, k], log-probabilities [P, k]) of a record."""
    shape = (len(record.positions), record.k)
    size = len(record.token_ids) // max(1, shape[0] * shape[1])  # bytes of each id: 2, 3, or 4 in older records
    ids_PKb = np.zeros((*shape, 4), np.uint8)
    ids_PKb[:, :, :size] = np.frombuffer(record.token_ids, np.uint8).reshape(*shape, size)
    ids_PK = ids_PKb.view("<u4")[:, :, 0].astype(np.int64)
    logprobs_PK = np.frombuffer(record.logprobs, dtype="<f2").reshape(shape).astype(np.float32)
    return ids_PK, logprobs_PK


def rest(record: SoftTargets) -> npt.NDArray[np.float32]:
    """The mass [P] that each distribution has outside its candidates; rounding may make it 0."""
    mass_P: npt.NDArray[np.float32] = 1 - np.exp(unpack(record)[1]).sum(axis=1)
    return mass_P.clip(min=0)
