"""A profile as the file of `ray up`, for virtual machines: AWS's, as the profile names them.

Knows Ray's cluster launcher. Does not know other clouds: there, `provider` and each `node_config` are to be changed.
"""

from typing import Any

from cluster.kuberay import CACHE, IDLE_S, IMAGE, RUNS
from cluster.profile import Profile, resource
from pipelines.core.errors import UserError

HEAD = "head"
SHARED = "fs-00000000.efs.us-east-1.amazonaws.com:/"  # what all nodes have at RUNS


def config(profile: Profile, image: str = IMAGE) -> dict[str, Any]:
    """UserError where the profile does not name the machines."""
    head = {"resources": {"CPU": 0}, "min_workers": 0, "max_workers": 0}
    types = {HEAD: {**head, "node_config": _machine("head", profile.head.machine)}}
    for name, pool in profile.pools.items():
        if name == HEAD:
            raise UserError(f"the pool {HEAD!r} has the name of the node that `ray up` starts itself; take another")
        # Ray start is told these, so that a node is known by its pool.
        has = {"CPU": pool.cpus, **({"GPU": pool.gpus} if pool.gpus else {}), resource(name): 1}
        spot = {"InstanceMarketOptions": {"MarketType": "spot"}} if pool.spot else {}
        types[name] = {
            "resources": has,
            "min_workers": pool.min,
            "max_workers": pool.max,
            "node_config": {**_machine(f"pools.{name}", pool.machine), **spot},
        }
    return {
        "cluster_name": "tutelage",
        "max_workers": sum(pool.max for pool in profile.pools.values()),
        "idle_timeout_minutes": IDLE_S / 60,
        "provider": {"type": "aws", "region": "us-east-1"},
        "auth": {"ssh_user": "ubuntu"},
        "docker": {
            "image": image,
            "container_name": "tutelage",
            "pull_before_run": True,
            "run_options": ["--ulimit nofile=65536:65536", f"-v {RUNS}:{RUNS}", f"-e TUTELAGE_CACHE={CACHE}"],
        },
        "available_node_types": types,
        "head_node_type": HEAD,
        "initialization_commands": [
            f"sudo mkdir -p {RUNS}",
            f"mountpoint -q {RUNS} || sudo mount -t nfs4 {SHARED} {RUNS}",
        ],
        "head_start_ray_commands": [
            "ray stop",
            "ray start --head --port=6379 --autoscaling-config=~/ray_bootstrap_config.yaml --dashboard-host=127.0.0.1",
        ],
        "worker_start_ray_commands": ["ray stop", "ray start --address=$RAY_HEAD_IP:6379"],
    }


def _machine(where: str, machine: str | None) -> dict[str, str]:
    if machine is None:
        raise UserError(f"{where}.machine: `ray up` needs the cloud's name of such a machine, and the profile has none")
    return {"InstanceType": machine}
