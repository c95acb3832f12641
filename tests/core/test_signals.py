"""Top-k distributions packed and unpacked."""

import numpy as np
import pytest

from pipelines.core.records import SoftTargets
from pipelines.core.signals import pack, unpack


def test_candidates_come_back_in_falling_order() -> None:
    ids = np.array([[5, 70_000, 9], [1, 2, 3]])
    logprobs = np.log(np.array([[0.2, 0.5, 0.1], [0.6, 0.25, 0.125]]))
    record = pack("s1", "e1", (3, 7), ids, logprobs)
    assert (record.id, record.example_id, record.k, record.positions) == ("s1", "e1", 3, (3, 7))
    assert len(record.token_ids) + len(record.logprobs) == 2 * 3 * 5
    back_ids, back_logprobs = unpack(record)
    assert back_ids.tolist() == [[70_000, 5, 9], [1, 2, 3]]
    # float16 holds 11 bits: half a unit in the last place at 2.3 is 2^-10
    np.testing.assert_allclose(np.exp(back_logprobs), [[0.5, 0.2, 0.1], [0.6, 0.25, 0.125]], rtol=2e-3)


@pytest.mark.parametrize(("largest", "size"), [(65_535, 2), (65_536, 3), (2**24 - 1, 3)])
def test_ids_take_the_bytes_that_they_need(largest: int, size: int) -> None:
    ids = np.array([[largest, 0, 1, 256]])
    record = pack("s", "e", (1,), ids, np.log(np.array([[0.4, 0.3, 0.2, 0.1]])))
    assert len(record.token_ids) == 4 * size
    assert unpack(record)[0].tolist() == ids.tolist()


def test_older_records_of_four_bytes_are_read() -> None:
    ids, logprobs = np.array([[70_000, 5]], "<u4"), np.array([[-0.5, -1.0]], "<f2")
    record = SoftTargets("s", "e", 2, (1,), ids.tobytes(), logprobs.tobytes())
    assert unpack(record)[0].tolist() == [[70_000, 5]]


def test_an_example_without_positions_has_an_empty_signal() -> None:
    ids, logprobs = unpack(pack("s", "e", (), np.zeros((0, 4)), np.zeros((0, 4))))
    assert ids.shape == logprobs.shape == (0, 4)


def test_distributions_and_positions_must_be_as_many() -> None:
    with pytest.raises(AssertionError, match="1 distributions for 2 positions"):
        pack("s", "e", (1, 2), np.zeros((1, 4)), np.zeros((1, 4)))
