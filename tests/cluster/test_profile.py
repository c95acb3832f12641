"""Profiles as they ship and as people write them; no Ray starts."""

from pathlib import Path

import pytest

from cluster import profile
from cluster.profile import Profile
from pipelines.core.errors import UserError

HERE = "roles: {teacher: here, student: here, probe: here, judge: here, cpu: here}\n"


def test_the_shipped_ones_are_of_the_clusters_that_people_have() -> None:
    assert profile.shipped() == ["eight-gpus", "laptop", "one-gpu", "pools"]
    one_machine = {name: profile.load(name).is_one_machine for name in profile.shipped()}
    assert one_machine == {"eight-gpus": True, "laptop": True, "one-gpu": True, "pools": False}
    teachers = profile.load("pools").pool("teacher")
    assert teachers.spot
    assert teachers.min == 0


@pytest.mark.parametrize("name", profile.shipped())
def test_accelerators_are_called_as_ray_calls_them(name: str) -> None:
    from ray.util import accelerators

    known = {value for key, value in vars(accelerators).items() if key.isupper()}
    named = {pool.accelerator_type for pool in profile.load(name).pools.values()} - {None}
    assert named <= known


def test_a_role_is_a_pools_name_or_says_how_its_processes_lie(tmp_path: Path) -> None:
    made = _written(
        tmp_path, "pools: {here: {cpus: 4}}\n" + HERE.replace("probe: here", "probe: {pool: here, placement: SPREAD}")
    )
    assert (made.role("probe").pool, made.role("probe").placement) == ("here", "SPREAD")
    assert (made.role("cpu").pool, made.role("cpu").placement) == ("here", "PACK")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pools: {here: {cpus: 4, gpuz: 1}}\n" + HERE, r"profile.yaml:1: pools\.here\.gpuz: .* did you mean 'gpus'"),
        ("pools: {here: {}}\n" + HERE, r"pools\.here\.cpus: this key is needed"),
        ("pools: {here: {cpus: 4, min: 2}}\n" + HERE, r"min \(2\) is above max \(1\)"),
        ("pools: {here: {cpus: 4, accelerator_type: L4}}\n" + HERE, "is of GPUs, and there are none"),
        ("pools: {Here: {cpus: 4}}\n" + HERE, r"profile.yaml:1: pools\.Here"),
        ("pools: {there: {cpus: 4}}\n" + HERE, r"roles\.teacher names the pool 'here'; the pools are \['there'\]"),
        ("pools: {here: {cpus: 4}}\n" + HERE.replace(", cpu: here", ""), r"roles\.cpu: this key is needed"),
        ("- 1\n", "a profile is a mapping"),
    ],
)
def test_a_mistake_is_told_with_its_key_and_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        _written(tmp_path, text)


def test_an_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(UserError, match=r"there is no profile 'desk'; .* eight-gpus, laptop, one-gpu, pools"):
        profile.load("desk")


def _written(folder: Path, text: str) -> Profile:
    (folder / "profile.yaml").write_text(text)
    return profile.load(folder / "profile.yaml")
