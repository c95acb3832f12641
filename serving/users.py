"""Who uses an application on a cluster: drivers, for as long as they live.

Knows Ray's jobs and its store of small values. Does not know what an application serves. A driver that was killed takes
nothing back; it is not alive, and does not count. Where one leaves in the moment in which another comes, the other's
requests may fail; its run goes on with the next command.
"""

SPACE = b"tutelage-users"


def use(app: str) -> None:
    """This driver uses it from now on."""
    from ray.experimental import internal_kv

    internal_kv._internal_kv_put(_key(app, _me()), b"", namespace=SPACE)


def leave(app: str) -> bool:
    """This driver uses it no longer. Whether nobody else does."""
    import ray
    from ray.experimental import internal_kv

    internal_kv._internal_kv_del(_key(app, _me()), namespace=SPACE)
    kept = internal_kv._internal_kv_list(_key(app, ""), namespace=SPACE)
    users = {key.decode().rpartition("/")[2] for key in kept}
    alive = {job["JobID"] for job in ray._private.state.jobs() if not job["IsDead"]}
    return not users & alive


def _me() -> str:
    import ray

    job: str = ray.get_runtime_context().get_job_id()
    return job


def _key(app: str, driver: str) -> bytes:
    return f"{app}/{driver}".encode()
