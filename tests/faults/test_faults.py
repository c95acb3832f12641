"""Whatever is killed, lost or taken away in the middle of a run: its artefacts are those of the undisturbed one."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from disks import SmallDisk
from drill import Drill
from faults import LONG, STEPS_BEFORE, USUAL, Fault, is_training
from nodes import Nodes, cluster

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with cluster(2) as live:
        yield live


@pytest.fixture(scope="module")
def calm(recipe: Path, nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> tuple[Drill, float]:
    """The undisturbed run, and the seconds it took."""
    home = tmp_path_factory.mktemp("calm")
    with Drill(recipe, home / "runs", home / "log", nodes) as drill:
        return drill, drill.finish()


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, id=fault.name) for fault in USUAL]
    + [pytest.param(fault, id=fault.name, marks=pytest.mark.long) for fault in LONG],
)
def test_a_fault_costs_time_and_nothing_else(
    fault: Fault, calm: tuple[Drill, float], recipe: Path, nodes: Nodes, tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    undisturbed, usual_s = calm
    with Drill(recipe, tmp_path / "runs", tmp_path / "log", nodes, fault.settings) as drill:
        drill.until(lambda: fault.comes(drill))
        assert fault.stage not in drill.manifests(), "it comes too late"
        assert not nodes.workers("ray::Board"), "what the driver cannot do without is not on a node that can be lost"
        fault.strike(drill)
        took_s = drill.finish()
    assert drill.artefacts() == undisturbed.artefacts()
    twice = len(drill.steps()) - len(set(drill.steps()))
    assert twice < STEPS_BEFORE, "training went on from a checkpoint"
    record_property("fault", fault.name)
    record_property("seconds", f"{took_s:.0f}")
    record_property("wasted", f"{took_s - usual_s:.0f}")
    record_property("steps made twice", twice)


@pytest.mark.long
def test_a_disk_that_is_full_in_training_is_told_and_with_room_it_goes_on(
    calm: tuple[Drill, float], recipe: Path, nodes: Nodes, disk: SmallDisk, tmp_path: Path
) -> None:
    with Drill(recipe, disk.path / "runs", tmp_path / "log", nodes) as drill:
        drill.until(lambda: is_training(drill))
        disk.leave(0)
        drill.finish(code=2)
        assert re.search(r"error: training could not write .*: No space left .*Make room", drill.words())
        disk.leave(2**25)
        drill.start()
        drill.finish()
    assert drill.artefacts() == calm[0].artefacts()
