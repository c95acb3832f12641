"""Which groups of processes find room on a pool's nodes."""

import pytest

from cluster.profile import Pool, Strategy
from cluster.room import Group, Process, placed


@pytest.mark.parametrize(
    ("strategy", "processes", "nodes", "has_room"),
    [
        ("PACK", 4, 1, True),
        ("PACK", 5, 1, False),
        ("PACK", 8, 2, True),
        ("STRICT_PACK", 4, 2, True),
        ("STRICT_PACK", 5, 2, False),  # there are enough GPUs, on two nodes
        ("STRICT_SPREAD", 2, 2, True),
        ("STRICT_SPREAD", 3, 2, False),
    ],
)
def test_a_strategy_decides_which_nodes_will_do(strategy: Strategy, processes: int, nodes: int, has_room: bool) -> None:
    asked = Group((Process(1, 1),) * processes, strategy)
    assert placed([asked], Pool(max=nodes, cpus=32, gpus=4)) == has_room


def test_the_largest_have_their_places_first() -> None:
    pair, four = Group((Process(1, 1),) * 2, "STRICT_PACK"), Group((Process(1, 1),) * 4, "STRICT_PACK")
    assert placed([pair, four, pair], Pool(max=2, cpus=32, gpus=4)) == 3


def test_a_node_without_cpus_left_has_no_room_for_a_gpu_process() -> None:
    assert placed([Group((Process(1, 1),), "PACK")] * 4, Pool(cpus=2, gpus=4)) == 2
