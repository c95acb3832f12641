"""The processes of a cluster's actors, for tests that kill or watch them.

Asks the cluster that this process is connected to: unasked, Ray's state API takes the machine's latest.
"""


def pids(class_name: str) -> list[int]:
    """Of the living actors in whose class this name is."""
    import ray
    from ray.util.state import list_actors

    alive = list_actors(address=ray.get_runtime_context().gcs_address, filters=[("state", "=", "ALIVE")])
    return [int(actor.pid) for actor in alive if class_name in actor.class_name]
