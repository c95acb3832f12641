"""Whether groups of processes find room on the nodes of a pool, as Ray would place them.

Knows CPUs, GPUs and placement strategies. Does not know what the processes do. Largest groups are placed first, each
process on the first node with room: where a pool's GPUs, and what asks for them, are powers of two, that finds room
whenever there is any.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cluster.profile import Pool, Strategy


@dataclass(frozen=True)
class Process:
    """What one process takes of a node."""

    cpus: int
    gpus: int


@dataclass(frozen=True)
class Group:
    """Processes that are there together or not at all."""

    processes: tuple[Process, ...]
    strategy: Strategy


def placed(groups: Iterable[Group], pool: Pool) -> int:
    """How many of them, the largest first, the pool has room for when it is as large as it may be."""
    free = [Process(pool.cpus, pool.gpus)] * pool.max
    done = 0
    for group in sorted(groups, key=lambda g: sum(p.gpus * 1000 + p.cpus for p in g.processes), reverse=True):
        left = _after(group, free)
        if left is None:
            break
        free, done = left, done + 1
    return done


def _after(group: Group, free: Sequence[Process]) -> list[Process] | None:
    """What is free on each node once the group is placed; None where it has no room."""
    left, used = list(free), set[int]()
    is_together = group.strategy == "STRICT_PACK"
    asked = [_sum(group.processes)] if is_together else group.processes
    for process in asked:
        for n, node in enumerate(left):
            is_taken = group.strategy == "STRICT_SPREAD" and n in used
            if not is_taken and node.cpus >= process.cpus and node.gpus >= process.gpus:
                left[n] = Process(node.cpus - process.cpus, node.gpus - process.gpus)
                used.add(n)
                break
        else:
            return None
    return left


def _sum(processes: Iterable[Process]) -> Process:
    each = list(processes)
    return Process(sum(p.cpus for p in each), sum(p.gpus for p in each))
