"""A profile as KubeRay's resources: a RayCluster, a RayJob that runs one recipe on it, a RayService for the endpoints.

Knows Kubernetes' and KubeRay's fields (1.5.1 and later). Holds no secret: keys come from a Secret that the user makes.
Does not know clouds; what a cloud calls its spot machines stands in the profile.
"""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from cluster.profile import Head, Pool, Profile, resource

RAY = "2.60.0"  # as in pyproject.toml
IMAGE = "ghcr.io/your-org/tutelage:0.1.0"
RUNS = "/runs"  # where every node has the volume of that name
SECRET = "tutelage"  # API keys by the names of their environment variables
ON_WORKERS = ("HF_TOKEN",)  # of those; hosted teachers are asked by the driver, so all others stay on the head
CACHE = "/cache"
SERVE_PORT = 8000
COMMAND = f"tutelage run {RUNS}/recipe.yaml --runs {RUNS} --address auto --profile {RUNS}/profile.yaml"
IDLE_S = 300  # an engine's start costs minutes, so its node waits longer than Ray's one
# The taints of spot nodes: GKE's, AKS's. EKS has none.
SPOT = {"cloud.google.com/gke-spot": "true", "kubernetes.azure.com/scalesetpriority": "spot"}

Resource = dict[str, Any]


def cluster(profile: Profile, image: str = IMAGE, name: str = "tutelage") -> Resource:
    """Nodes that stay until it is deleted."""
    return _resource("RayCluster", name, _spec(profile, image))


def job(profile: Profile, image: str = IMAGE, command: str = COMMAND) -> Resource:
    """One run, with a cluster of its own that goes with it. Applied again, it goes on where it was."""
    spec = {
        "entrypoint": command,
        # On the head, where the driver is no work of Ray's and needs no slot.
        "submissionMode": "K8sJobMode",
        "backoffLimit": 2,  # a lost head is a new cluster, and what is done is kept
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 600,
        "rayClusterSpec": _spec(profile, image),
    }
    return _resource("RayJob", "tutelage", spec)


def service(profile: Profile, served: Mapping[str, Any], image: str = IMAGE) -> Resource:
    """Endpoints that outlive their nodes. `served` is the file of `tutelage serve RUN --config`."""
    spec = {
        "serviceUnhealthySecondThreshold": 1800,  # an engine may take long to start
        "deploymentUnhealthySecondThreshold": 1800,
        "serveConfigV2": yaml.safe_dump(dict(served), sort_keys=False),
        "rayClusterConfig": _spec(profile, image, served["http_options"]["port"]),
    }
    return _resource("RayService", "tutelage", spec)


def _resource(kind: str, name: str, spec: Resource) -> Resource:
    return {"apiVersion": "ray.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _spec(profile: Profile, image: str, serve_port: int = SERVE_PORT) -> Resource:
    return {
        "rayVersion": RAY,
        "authOptions": {"mode": "token"},  # of KubeRay's making: nobody else on the network may submit jobs
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {"version": "v2", "upscalingMode": "Default", "idleTimeoutSeconds": IDLE_S},
        "headGroupSpec": _head(profile.head, image, serve_port),
        "workerGroupSpecs": [_group(name, pool, image) for name, pool in profile.pools.items()],
    }


def _head(head: Head, image: str, serve_port: int) -> Resource:
    # Without slots of its own no engine or training comes to lie beside what the cluster cannot do without.
    params = {"num-cpus": "0", "num-gpus": "0", "dashboard-host": "0.0.0.0"}
    ports = {"gcs": 6379, "dashboard": 8265, "client": 10001, "serve": serve_port}
    container = {
        **_container(image, _asked(head.cpus, head.memory_gib)),
        "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
        "envFrom": [{"secretRef": {"name": SECRET, "optional": True}}],
    }
    return {"rayStartParams": params, "template": {"spec": _pod("ray-head", container, head.memory_gib)}}


def _group(name: str, pool: Pool, image: str) -> Resource:
    marks = {resource(name): 1}
    if pool.accelerator_type:  # Ray finds it itself, but a group of no nodes has to tell the autoscaler
        marks[f"accelerator_type:{pool.accelerator_type}"] = 1
    params = {"num-cpus": str(pool.cpus), "num-gpus": str(pool.gpus), "resources": _quoted(marks)}
    container = _container(image, _asked(pool.cpus, pool.memory_gib, pool.gpus))
    container["env"] += [_secret(name) for name in ON_WORKERS]
    pod = _pod("ray-worker", container, pool.memory_gib)
    if pool.node_labels:
        pod["nodeSelector"] = dict(pool.node_labels)
    if tolerations := _tolerations(pool):
        pod["tolerations"] = tolerations
    if pool.spot:
        pod["terminationGracePeriodSeconds"] = 25  # a spot machine is often gone 30 seconds after the warning
    return {
        "groupName": name,
        "replicas": pool.min,
        "minReplicas": pool.min,
        "maxReplicas": pool.max,
        "rayStartParams": params,
        "template": {"spec": pod},
    }


def _quoted(marks: Mapping[str, int]) -> str:
    """As KubeRay puts it into a shell's command line, and Ray's autoscaler reads it."""
    return "'" + json.dumps(marks) + "'"


def _secret(name: str) -> Resource:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": name, "optional": True}}}


def _tolerations(pool: Pool) -> list[Resource]:
    found = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}] if pool.gpus else []
    spot = SPOT.items() if pool.spot else ()
    return found + [{"key": k, "operator": "Equal", "value": v, "effect": "NoSchedule"} for k, v in spot]


def _asked(cpus: int, memory_gib: float, gpus: int = 0) -> dict[str, str]:
    asked = {"cpu": str(cpus), "memory": f"{memory_gib:g}Gi"}
    return asked | ({"nvidia.com/gpu": str(gpus)} if gpus else {})


def _container(image: str, asked: Mapping[str, str]) -> Resource:
    return {
        "image": image,
        "resources": {"requests": dict(asked), "limits": dict(asked)},
        "env": [{"name": "TUTELAGE_CACHE", "value": CACHE}, {"name": "HF_HOME", "value": f"{CACHE}/huggingface"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "runs", "mountPath": RUNS},
            {"name": "cache", "mountPath": CACHE},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def _pod(name: str, container: Resource, memory_gib: float) -> Resource:
    return {
        "containers": [{"name": name, **container}],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000},
        "volumes": [
            {"name": "runs", "persistentVolumeClaim": {"claimName": "tutelage-runs"}},
            {"name": "cache", "emptyDir": {}},
            # Ray's objects lie there, and what an engine's processes tell each other.
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{memory_gib / 3:.0f}Gi"}},
        ],
    }
