"""Profiles as KubeRay's resources: valid by KubeRay's own definitions, and read by Ray's own autoscaler."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import kuberay_schemas
import pytest
import yaml

from cluster import kuberay, profile

SERVED = {"http_options": {"host": "0.0.0.0", "port": 8100}, "applications": []}
MAKERS: dict[str, Callable[[profile.Profile], dict[str, Any]]] = {
    "RayCluster": kuberay.cluster,
    "RayJob": kuberay.job,
    "RayService": lambda made: kuberay.service(made, SERVED),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_profiles_resources_are_valid(kind: str) -> None:
    validator = jsonschema.Draft7Validator(kuberay_schemas.of(kind))
    for name in profile.shipped():
        made = MAKERS[kind](profile.load(name))
        assert made["kind"] == kind
        assert [f"{list(e.path)}: {e.message}" for e in validator.iter_errors(made)] == []


def test_a_field_that_kuberay_does_not_know_would_be_seen() -> None:
    validator = jsonschema.Draft7Validator(kuberay_schemas.of("RayCluster"))
    made = kuberay.cluster(profile.load("pools"))
    made["spec"]["workerGroupSpecs"][0]["template"]["spec"]["tolerationz"] = []
    made["spec"]["enableInTreeAutoscaling"] = "yes"
    assert len(list(validator.iter_errors(made))) == 2


@pytest.mark.parametrize("name", profile.shipped())
def test_rays_autoscaler_reads_the_pools_as_they_are_meant(name: str) -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    made, written = profile.load(name), kuberay.cluster(profile.load(name))
    written["metadata"]["namespace"] = "default"
    types = _derive_autoscaling_config_from_ray_cr(json.loads(json.dumps(written)))["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    for pool_name, pool in made.pools.items():
        found = types[pool_name]
        assert (found["min_workers"], found["max_workers"]) == (pool.min, pool.max)
        has = found["resources"]
        assert (has["CPU"], has.get("GPU", 0), has[profile.resource(pool_name)]) == (pool.cpus, pool.gpus, 1)
        assert (f"accelerator_type:{pool.accelerator_type}" in has) == (pool.accelerator_type is not None)


def test_spot_machines_are_chosen_and_borne() -> None:
    groups = {
        g["groupName"]: g["template"]["spec"]
        for g in kuberay.cluster(profile.load("pools"))["spec"]["workerGroupSpecs"]
    }
    assert groups["teachers"]["nodeSelector"] == {"karpenter.sh/capacity-type": "spot"}
    borne = {name: {t["key"] for t in pod.get("tolerations", [])} for name, pod in groups.items()}
    assert borne["cpu"] == set()
    assert borne["students"] == {"nvidia.com/gpu"}
    assert borne["teachers"] == {"nvidia.com/gpu", *kuberay.SPOT}


def test_keys_are_named_and_never_written_and_workers_see_only_the_hubs() -> None:
    spec = kuberay.cluster(profile.load("pools"))["spec"]
    (head,) = spec["headGroupSpec"]["template"]["spec"]["containers"]
    assert head["envFrom"] == [{"secretRef": {"name": "tutelage", "optional": True}}]
    for group in spec["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        assert "envFrom" not in container
        secret = [e for e in container["env"] if "valueFrom" in e]
        assert [e["valueFrom"]["secretKeyRef"]["key"] for e in secret] == ["HF_TOKEN"]


def test_a_service_listens_where_its_file_says() -> None:
    spec = kuberay.service(profile.load("pools"), SERVED)["spec"]
    (head,) = spec["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"]
    assert {"name": "serve", "containerPort": 8100} in head["ports"]
    assert yaml.safe_load(spec["serveConfigV2"]) == SERVED


def test_ray_is_the_version_that_is_installed() -> None:
    import ray

    assert ray.__version__ == kuberay.RAY
