"""A profile as the file of `ray up`, by Ray's own rules. No cloud is asked."""

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster import profile, vms
from pipelines.core.errors import UserError


def test_ray_takes_the_file_and_starts_each_pools_nodes_with_its_mark() -> None:
    made = profile.load("pools")
    config = prepare_config(vms.config(made))
    validate_config(config)
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}
    for name, pool in made.pools.items():
        assert types[name]["resources"][profile.resource(name)] == 1
        assert (types[name]["min_workers"], types[name]["max_workers"]) == (pool.min, pool.max)
    assert types["teachers"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in types["students"]["node_config"]


def test_machines_have_to_be_named() -> None:
    with pytest.raises(UserError, match=r"head\.machine: `ray up` needs"):
        vms.config(profile.load("eight-gpus"))
