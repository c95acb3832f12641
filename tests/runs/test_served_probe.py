"""`tutelage serve RUN --probe` up to where Serve would start: what is made first, what is said, what is refused."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from pipelines.core.errors import UserError
from pipelines.core.recipe import recipe_of
from pipelines.core.runner import Planned
from pipelines.core.stage import Done
from pipelines.core.storage import Folder
from pipelines.runs import api, serve
from pipelines.runs.probe import probed
from serving import influence
from serving.door import Door
from serving.endpoints import Endpoints
from serving.faculty import ClusterFaculty


@pytest.fixture
def data(model: Path, tmp_path: Path) -> dict[str, Any]:
    rows = [{"instruction": f"Buy item {n}.", "output": f"It is bought for {n} coins."} for n in range(6)]
    reference = tmp_path / "reference.jsonl"
    reference.write_text("\n".join(map(json.dumps, rows)))
    return {
        "name": "small",
        "method": "tune",
        "data": {"sources": {"main": {}}, "held_out": 8},
        "student": {
            "init": {"kind": "model", "model": str(model)},
            "train": {"max_length": 128, "warm": True, "schedule": "ramp"},
            "probe": {"reference": {"path": str(reference)}, "method": "exact"},
        },
    }


@pytest.fixture
def trained(runs: Folder, monkeypatch: pytest.MonkeyPatch) -> Done:
    """All stages are said to be done, and nothing is really served."""
    done = Done(runs.child("student"), {"digest": "of the student"})
    monkeypatch.setattr(serve.runner, "plan", lambda stages, _: [Planned(stage, "done", done) for stage in stages])
    monkeypatch.setattr(ClusterFaculty, "endpoints", Endpoints(session=None))  # type: ignore[arg-type]
    monkeypatch.setattr(serve, "_wait", lambda: None)
    return done


def served(data: dict[str, Any], runs: Folder, door: Door | None = None) -> list[str]:
    """What is said."""
    recipe = recipe_of(deepcopy(data))
    said: list[str] = []
    stages = api.stages_of(recipe, ClusterFaculty(recipe))
    serve.serve_probe(serve.ToServe(recipe, stages, runs.uri, door or Door(), said.append))
    return said


def test_the_reference_is_made_and_a_request_is_shown(
    data: dict[str, Any], runs: Folder, trained: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[influence.ServedProbe] = []

    def up(_: Endpoints, probe: influence.ServedProbe) -> str:
        probes.append(probe)
        return "http://here/v1/influence"

    monkeypatch.setattr(influence, "up", up)
    said = served(data, runs)
    (probe,) = probes
    assert probe.student is trained
    assert probe.reference.manifest["rows"] == 6
    assert (probe.config.method, probe.encode.max_length) == ("exact", 128)
    curl, body = said[-4:-2]
    assert curl == 'curl http://here/v1/influence -H "Content-Type: application/json" \\'
    assert json.loads(body.strip().removeprefix("-d ").strip("'")) == serve.HELLO_PROBE
    assert "the student's probe: http://here/v1/influence (this machine only; no key)" in "".join(said)
    with_keys = served(data, runs, Door(keys=Path("keys.json")))
    assert with_keys[-4].strip() == '-H "Authorization: Bearer $TUTELAGE_KEY" \\'
    assert "clients need a key" in "".join(with_keys)


def test_a_run_without_a_student_or_a_reference_has_no_probe(data: dict[str, Any], runs: Folder) -> None:
    with pytest.raises(UserError, match="is not trained yet; run `tutelage run` first"):
        served(data, runs)
    del data["student"]["probe"]
    with pytest.raises(UserError, match=r"the recipe has no student\.probe"):
        served(data, runs)


def test_a_method_that_the_probe_cannot_measure_by_is_refused_before_anything_starts(data: dict[str, Any]) -> None:
    data["student"]["probe"]["shards"] = 2
    with pytest.raises(UserError, match=r"--method sampled: .* use first_order"):
        probed(recipe_of(data), "sampled")
    assert probed(recipe_of(data), "first_order")[1].method == "first_order"
