"""How many nodes each pool of a cluster has, for as long as a run is on it.

Knows Ray's list of nodes, and the mark by which a pool's are told. Does not know stages: it is told what is under way.
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
def counted(profile: Profile, folder: Folder, during: Callable[[], str]) -> Iterator[None]:
    """Count once a second; the folder's file has every change, and at the end what is there last."""
    over = threading.Event()
    counts: list[Count] = []

    def look() -> None:
        counts.append(Count(round(time.time(), 1), during(), _nodes(profile)))

    def keep() -> None:
        with suppress(UserError, Unreachable):  # a picture that is lost is no reason to end a run
            folder.write_json(FILE, [asdict(count) for count in counts])

    def watch() -> None:
        while not over.wait(EVERY_S):
            look()
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
