"""Whatever is killed, lost or taken away in the middle of a run: its artefacts are those of the undisturbed one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drill import Drill
from faults import FAULTS, Fault
from nodes import Nodes, cluster

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with cluster(2) as live:
        yield live


@pytest.fixture(scope="module")
def calm(recipe: Path, nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> tuple[Drill, float]:
    """The undisturbed run, and the seconds it took."""
    drill = Drill(recipe, tmp_path_factory.mktemp("calm") / "runs", nodes)
    return drill, drill.finish()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_costs_time_and_nothing_else(
    fault: Fault, calm: tuple[Drill, float], recipe: Path, nodes: Nodes, tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    undisturbed, usual_s = calm
    drill = Drill(recipe, tmp_path / "runs", nodes, fault.settings)
    drill.until(lambda: fault.comes(drill))
    fault.strike(drill)
    took_s = drill.finish()
    assert drill.artefacts() == undisturbed.artefacts()
    steps = drill.steps()
    print(fault.name, "wasted", took_s - usual_s, "usual", usual_s, "steps twice", len(steps) - len(set(steps)))
