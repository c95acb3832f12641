"""What a profile does to a session: which resources a role's processes ask for. No Ray starts."""

from pathlib import Path

import pytest

from cluster import placement, profile
from cluster.engines import serve_config, setup
from cluster.placement import alone, one_per_actor
from cluster.profile import Profile
from cluster.session import Session, check
from pipelines.core.config import Engine
from pipelines.core.errors import UserError

POOLS = profile.load("pools")


def live(made: Profile | None) -> Session:
    """Of a cluster that has no GPU yet."""
    return Session("there", Path("logs"), gpus=0, threads=2, profile=made)


def test_without_a_profile_every_role_has_the_cluster_as_it_is() -> None:
    assert live(None).of("teacher") == live(None)
    assert live(None).bundle == {"CPU": 1}
    assert Session("there", Path("logs"), gpus=8, threads=2).of("student").bundle == {"GPU": 1, "CPU": 1}


def test_a_pool_that_has_no_node_yet_is_known_by_its_profile() -> None:
    teacher, cpu = live(POOLS).of("teacher"), live(POOLS).of("cpu")
    assert teacher.on_gpu
    assert teacher.bundle == {"GPU": 1, "CPU": 1, "pool-teachers": 0.001}
    assert cpu.bundle == {"CPU": 1, "pool-cpu": 0.001}
    assert (teacher.threads, cpu.threads) == (88, 14)
    assert live(profile.load("laptop")).of("teacher").threads == 2  # this machine's own


def test_an_engine_lies_on_its_roles_pool_on_the_actor_pool_and_behind_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "_give_back", lambda _: None)
    made = setup(Path("model"), Engine(tensor_parallel_size=2), live(POOLS).of("teacher"))
    bundle = {"GPU": 1, "CPU": 1, "pool-teachers": 0.001}
    assert serve_config("m", made)["placement_group_config"] == {"bundles": [bundle] * 2, "strategy": "STRICT_PACK"}
    with one_per_actor(made.bundles, made.strategy) as asked:
        assert asked["ray_remote_args_fn"].args[1:] == ([bundle] * 2, "STRICT_PACK")
    with one_per_actor(made.bundles[:1], made.strategy) as asked:
        assert asked == {"num_cpus": 1, "num_gpus": 1, "resources": {"pool-teachers": 0.001}}


def test_a_process_without_a_pool_asks_for_nothing_of_its_own() -> None:
    assert alone({"CPU": 1}) == {"num_cpus": 1, "num_gpus": 0}


def test_serve_takes_the_pools_resources_and_their_strategy() -> None:
    from ray.serve.llm import LLMConfig

    made = setup(Path("model"), Engine(), live(POOLS).of("teacher"))
    config = LLMConfig(**serve_config("m", made))
    assert config.get_engine_config().placement_bundles == [{"GPU": 1, "CPU": 1, "pool-teachers": 0.001}]
    assert config.get_engine_config().placement_strategy == "STRICT_PACK"


CPU = {"CPU": 14.0, "pool-cpu": 1.0}
GPU = {"CPU": 88.0, "GPU": 8.0, "pool-teachers": 1.0, "accelerator_type:A100": 1.0}


def test_a_cluster_whose_empty_pools_may_still_grow_is_the_profiles() -> None:
    check(POOLS, [{"CPU": 0.0}, CPU])
    check(POOLS, [CPU, GPU])


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([{"CPU": 64.0}], r"'cpu' has at least 1 node\(s\), and none is on this cluster: .*\{\"pool-cpu\": 1\}"),
        ([{**CPU, "CPU": 8.0}], "has nodes of 14 CPU and 0 GPU, and one on this cluster has 8 and 0"),
        ([CPU, {**GPU, "GPU": 4.0}], "has nodes of 88 CPU and 8 GPU, and one on this cluster has 88 and 4"),
        (
            [CPU, {key: v for key, v in GPU.items() if ":" not in key} | {"accelerator_type:L4": 1.0}],
            "has A100s, .* L4",
        ),
    ],
)
def test_a_cluster_that_is_another_is_refused_in_words(nodes: list[dict[str, float]], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check(POOLS, nodes)
