"""Where a pool's actors find room: on one node's resources, or each in a placement group of its own.

Knows Ray's placement groups and Ray Data's arguments. Does not know what the actors do.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

Bundle = Mapping[str, float]  # Ray resources that lie on one node


def alone(bundle: Bundle) -> dict[str, Any]:
    """A bundle as the arguments of an actor or a task that is placed by itself."""
    asked = {"num_cpus": bundle.get("CPU", 0), "num_gpus": bundle.get("GPU", 0)}
    own = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU")}
    return {**asked, **({"resources": own} if own else {})}


@contextmanager
def one_per_actor(bundles: Sequence[Bundle], strategy: str = "PACK") -> Iterator[dict[str, Any]]:
    """Arguments of `map_batches` that give every actor these bundles, which may lie on several nodes.

    An engine over several GPUs starts workers of its own in its actor's group. The groups are given back at the end;
    Ray keeps that of an actor that ended until then.
    """
    if len(bundles) == 1:
        yield alone(bundles[0])
        return
    pool = f"pool-{uuid.uuid4().hex}"
    made = partial(_placed, pool, [dict(b) for b in bundles], strategy)
    try:
        yield {"num_cpus": 1, "num_gpus": 0, "ray_remote_args_fn": made}
    finally:
        _give_back(pool)


def _placed(pool: str, bundles: list[dict[str, float]], strategy: str) -> dict[str, Any]:
    from ray.util import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = placement_group(bundles, strategy=strategy, name=f"{pool}-{uuid.uuid4().hex}")
    return {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)}


def _give_back(pool: str) -> None:
    from ray.util import get_placement_group, placement_group_table, remove_placement_group

    for row in placement_group_table().values():
        if row["name"].startswith(pool) and row["state"] != "REMOVED":
            remove_placement_group(get_placement_group(row["name"]))
