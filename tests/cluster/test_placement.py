"""What a pool's actors ask of Ray, for engines on one GPU and on several; no Ray starts."""

import pickle

import pytest

from cluster import placement


def test_an_engine_on_one_device_needs_no_group() -> None:
    with placement.one_per_actor([{"GPU": 1, "CPU": 1}]) as asked:
        assert asked == {"num_cpus": 1, "num_gpus": 1}
    with placement.one_per_actor([{"CPU": 1}]) as asked:
        assert asked == {"num_cpus": 1, "num_gpus": 0}


def test_an_engine_over_several_leaves_the_gpus_to_its_workers_and_gives_its_groups_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_back: list[str] = []
    monkeypatch.setattr(placement, "_give_back", given_back.append)
    with placement.one_per_actor([{"GPU": 1, "CPU": 1}] * 4) as asked:
        assert (asked["num_cpus"], asked["num_gpus"]) == (1, 0)
        pool, bundles, strategy = pickle.loads(pickle.dumps(asked["ray_remote_args_fn"])).args
        assert bundles == [{"GPU": 1, "CPU": 1}] * 4
        assert strategy == "PACK"
        assert given_back == []
    assert given_back == [pool]
