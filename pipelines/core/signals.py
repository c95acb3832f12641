"""Top-k distributions, packed small: uint32 ids and float16 log-probabilities.

Knows the layout of `SoftTargets`, its two directions, and what it leaves out. 6 bytes per candidate, so 384 bytes per
token at k = 64.
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
    values_PK = np.take_along_axis(logprobs_PK, order_PK, axis=1).astype("<f2")
    return SoftTargets(id, example_id, K, positions, ids_PK.tobytes(), values_PK.tobytes())


def unpack(record: SoftTargets) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """(token ids [P, k], log-probabilities [P, k]) of a record."""
    shape = (len(record.positions), record.k)
    ids_PK = np.frombuffer(record.token_ids, dtype="<u4").reshape(shape).astype(np.int64)
    logprobs_PK = np.frombuffer(record.logprobs, dtype="<f2").reshape(shape).astype(np.float32)
    return ids_PK, logprobs_PK


def rest(record: SoftTargets) -> npt.NDArray[np.float32]:
    """The mass [P] that each distribution has outside its candidates; rounding may make it 0."""
    mass_P: npt.NDArray[np.float32] = 1 - np.exp(unpack(record)[1]).sum(axis=1)
    return mass_P.clip(min=0)
