"""Connects to a Ray cluster, or starts one on this machine.

Knows Ray's session, where its logs lie, and what a process of each role asks of Ray. Does not know models or stages. A
local session has more CPU slots than cores: an idle engine holds a slot, not a core, and a slot too few would be a
deadlock.
"""

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cluster.placement import Bundle
from cluster.profile import SHARE, Profile, RoleName, Strategy, resource
from pipelines.core.errors import Unreachable, UserError

LOCAL_SLOTS = 16


@dataclass(frozen=True)
class Session:
    """A live connection, as work of one role has it. `logs` is where engine and worker logs are written."""

    address: str
    logs: Path
    gpus: int
    threads: int  # CPU threads that one engine or training worker may use
    profile: Profile | None = None
    label: Mapping[str, float] = field(default_factory=dict)  # Ray resources by which a pool's nodes are known
    strategy: Strategy = "PACK"
    outlives: bool = False  # the cluster is there when this process has ended

    @property
    def on_gpu(self) -> bool:
        return self.gpus > 0

    @property
    def bundle(self) -> Bundle:
        """What one process asks of a node: a GPU where there are any, a CPU, and the mark of its pool."""
        return {**({"GPU": 1} if self.on_gpu else {}), "CPU": 1, **self.label}

    def of(self, role: RoleName) -> "Session":
        """The same cluster for work of this role. Without a profile all roles have it alike."""
        if self.profile is None:
            return self
        pool, asked = self.profile.pool(role), self.profile.role(role)
        # What a pool has, its profile says: of one that has no node yet, Ray knows nothing.
        threads = self.threads if self.profile.is_one_machine else pool.cpus
        label = {resource(asked.pool): SHARE}
        return replace(self, gpus=pool.gpus, threads=threads, label=label, strategy=asked.placement)


@contextmanager
def session(address: str | None = None, profile: Profile | None = None) -> Iterator[Session]:
    """Connect to `address`, or start a local cluster that ends with this process.

    UserError where the profile is of another cluster.
    """
    import ray

    _quiet()
    if address is None:
        _start_here(profile)
    else:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    quiet_logs()
    # What raylets report (slow starts, lost workers) is in the session's logs; `log_to_driver` does not cover it.
    ray._private.worker._worker_logs_enabled = False
    try:
        if profile is not None:
            check(profile, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        yield joined(profile, outlives=address is not None)
    finally:
        ray.shutdown()


def joined(profile: Profile | None = None, outlives: bool = True) -> Session:
    """The session that this process is in already: as a driver, or as a part of what one has started."""
    import ray

    logs = ray._private.worker.global_worker.node.get_logs_dir_path()
    gpus = int(ray.cluster_resources().get("GPU", 0))
    here = ray.get_runtime_context().gcs_address
    return Session(here, Path(logs), gpus, os.cpu_count() or 1, profile, outlives=outlives)


def check(profile: Profile, nodes: Sequence[Mapping[str, float]]) -> None:
    """UserError where these nodes' Ray resources are not what the profile says, so that work would wait for ever."""
    for name, pool in profile.pools.items():
        there = [node for node in nodes if resource(name) in node]
        if not there and pool.min:
            mark = json.dumps({resource(name): 1})
            raise UserError(
                f"the profile's pool {name!r} has at least {pool.min} node(s), and none is on this cluster: wait until "
                f"they have joined, or start them with `ray start --resources='{mark}'` or by a file of "
                "`tutelage manifests`"
            )
        for node in there:
            if node.get("GPU", 0) < pool.gpus or node.get("CPU", 0) < pool.cpus:
                raise UserError(
                    f"the profile's pool {name!r} has nodes of {pool.cpus} CPU and {pool.gpus} GPU, and one on this "
                    f"cluster has {node.get('CPU', 0):g} and {node.get('GPU', 0):g}"
                )
            if (wanted := pool.accelerator_type) and f"accelerator_type:{wanted}" not in node:
                found = [key.removeprefix("accelerator_type:") for key in node if key.startswith("accelerator_type:")]
                raise UserError(
                    f"the profile's pool {name!r} has {wanted}s, and a node on this cluster has "
                    f"{found[0] if found else 'GPUs of which Ray tells no type'}; say so in its accelerator_type"
                )


def check_here(profile: Profile) -> None:
    """UserError where a cluster of this profile is not for this machine to start."""
    if not profile.is_one_machine:
        raise UserError("the profile has more than this one machine; name its cluster with --address")


def _start_here(profile: Profile | None) -> None:
    """A local cluster. Unreachable where this machine is too busy to start it in Ray's own time, even a second time."""
    options: dict[str, Any] = {"num_cpus": max(LOCAL_SLOTS, os.cpu_count() or 1)}
    if profile is not None:
        check_here(profile)
        ((name, pool),) = profile.pools.items()
        options = {"num_cpus": pool.cpus, "resources": {resource(name): 1}}
    if not _started(options) and not _started(options):  # what the first had to read from the disk is in memory now
        raise Unreachable(
            "Ray did not start within its 30 seconds, twice: this machine is very busy. What is done is kept; the same "
            "command goes on from there"
        )


def _started(options: Mapping[str, Any]) -> bool:
    """Whether Ray came up in its own time. Where it did not, nothing is left of it."""
    import psutil
    import ray

    before = psutil.Process().children()
    try:
        ray.init(
            address="local",  # never a cluster that happens to run here: --address asks for that
            **options,
            include_dashboard=True,  # without it Ray Train logs a failed query every second
            dashboard_host="127.0.0.1",
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
        )
    except Exception as error:  # Ray has no class for it
        if "timed out during startup" not in str(error):
            raise
        for process in set(psutil.Process().children()) - set(before):
            process.kill()
        return False
    return True


def _quiet() -> None:
    """Engine and data logs go to files; the terminal belongs to progress."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # a checkpoint waits for the next look
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")  # a start has enough to do
    for kind in ("CPU", "GPU", "MEMORY", "OBJECT_STORE_MEMORY"):
        # Ray Data would ask for nodes without a pool's mark, and get some of another pool.
        os.environ[f"RAY_DATA_DEFAULT_CLUSTER_SCALING_UP_{kind}_UTIL_THRESHOLD"] = "1e9"  # it must be finite
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    quiet_logs()
    warnings.filterwarnings("ignore", module="ray")


def quiet_logs() -> None:
    """Libraries set their loggers to INFO, and a handler on the terminal, when they start; call this after."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.ERROR)
    for name in ("ray", "ray.data", "ray.serve", "ray.train", "httpx", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.ERROR)
