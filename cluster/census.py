"""How many nodes each pool of a cluster has, for as long as a run is on it, and whether work waits for the first.

Knows Ray's list of nodes, what waits for room on them, and the mark by which a pool's are told. Does not know stages:
it is told what is under way.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from cluster.profile import Profile, resource
from pipelines.core.errors import Unreachable, UserError
from pipelines.core.storage import Folder

FILE = "nodes.json"
EVERY_S = 1.0


@dataclass(frozen=True)
class Count:
    """What was there from this moment until the next count."""

    at: float  # seconds since 1970
    during: str  # the stage that was under way
    nodes: Mapping[str, int]  # by pool, also those that have none


@contextmanager
def counted(profile: Profile, folder: Folder, during: Callable[[], str], say: Callable[[str], None]) -> Iterator[None]:
    """Count once a second; the folder's file has every change, and at the end what is there last. Who waits is told."""
    over = threading.Event()
    counts: list[Count] = []

    def look() -> None:
        counts.append(Count(round(time.time(), 1), during(), _nodes(profile)))

    def keep() -> None:
        with suppress(UserError, Unreachable):  # a picture that is lost is no reason to end a run
            folder.write_json(FILE, [asdict(count) for count in counts])

    def watch() -> None:
        told: frozenset[str] = frozenset()
        while not over.wait(EVERY_S):
            look()
            waiting = _waiting(counts[-1].nodes)
            for pool in sorted(told ^ waiting):
                say(f"  {'waiting for the first' if pool in waiting else 'there is a'} node of pool {pool!r}")
            told = waiting
            if len(counts) > 1 and _same(*counts[-2:]):
                counts.pop()
            else:
                keep()

    look()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        look()
        keep()


def _same(one: Count, other: Count) -> bool:
    return (one.during, one.nodes) == (other.during, other.nodes)


def _nodes(profile: Profile) -> dict[str, int]:
    import ray

    marks = Counter(mark for node in ray.nodes() if node["Alive"] for mark in node["Resources"])
    return {pool: marks[resource(pool)] for pool in profile.pools}


def _waiting(nodes: Mapping[str, int]) -> frozenset[str]:
    """The pools without a node on which a process, or a group of them, waits for room."""
    missing = [pool for pool, count in nodes.items() if not count]
    marks = _marks_waited_for() if missing else frozenset()
    return frozenset(pool for pool in missing if resource(pool) in marks)


def _marks_waited_for() -> frozenset[str]:
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_resource_state  # of the older autoscaler's clusters too

    state = get_cluster_resource_state(ray._private.worker.global_worker.gcs_client)
    alone = [counted.request for counted in state.pending_resource_requests]
    together = [request for group in state.pending_gang_resource_requests for request in group.requests]
    return frozenset(name for request in alone + together for name in request.resources_bundle)
