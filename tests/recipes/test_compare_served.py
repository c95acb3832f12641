"""A comparison's models are served with what was said of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from comparing import Run, of_eight, panel, read

from pipelines.core.errors import UserError
from pipelines.core.progress import Progress
from pipelines.core.storage import Folder
from pipelines.runs import serve
from pipelines.runs.serve import ToServe
from pipelines.runs.served_with import Wanted
from serving.door import Door
from serving.faculty import ClusterFaculty
from serving.served import Served
from serving.shown import RowsFile


@pytest.fixture
def data(model: Path, tmp_path: Path) -> dict[str, Any]:
    return of_eight(model, tmp_path)


class Endpoints:
    """Serves nothing, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.models: list[Served] = []
        self.rows: RowsFile | None = None

    def up(self, models: list[Served], *, at_root: bool, rows: RowsFile) -> str:
        assert at_root
        self.models, self.rows = models, rows
        return "http://127.0.0.1:8123/v1"


@pytest.fixture
def endpoints(monkeypatch: pytest.MonkeyPatch) -> Endpoints:
    made = Endpoints()
    monkeypatch.setattr(ClusterFaculty, "endpoints", made)
    monkeypatch.setattr(ClusterFaculty, "hold_port", lambda *_: None)
    monkeypatch.setattr(serve, "_wait", lambda: None)
    return made


def test_a_comparisons_models_are_served_with_what_was_said_of_them(
    data: dict[str, Any], model: Path, runs: Folder, quiet: Progress, endpoints: Endpoints
) -> None:
    data["teachers"]["small"] = {"kind": "vllm", "model": str(model)}
    made = Run(read(data), panel(), runs).run(quiet)
    said: list[str] = []
    asked = ToServe(made.recipe, made.stages, runs.uri, Door(), said.append)
    serve.serve(asked)
    assert [each.name for each in endpoints.models] == ["small"]
    assert "big is not served: it is a teacher of kind fake, not vllm" in said
    assert "to compare them in a browser: http://127.0.0.1:8123/" in said
    assert endpoints.rows is not None
    assert endpoints.rows.folder == made.folder
    assert len(endpoints.rows.rows) == 8
    with pytest.raises(UserError, match="--model big: there is no such model to serve; there is small"):
        serve.serve(asked, Wanted(["big"]))
    file = Path(runs.uri) / "serve.yaml"
    serve.write_down(replace(asked, port=8200), Wanted(replicas=["small=0:2"]), file)
    assert said[-1] == f"{file} is written: serve deploy {file}"
    written = yaml.safe_load(file.read_text())
    assert written["http_options"]["port"] == 8200
    assert written["applications"][0]["args"]["models"][0]["replicas"] == {"min": 0, "max": 2}


def test_a_comparison_that_cannot_be_served_is_refused_in_words(
    data: dict[str, Any], runs: Folder, quiet: Progress, endpoints: Endpoints
) -> None:
    made = Run(read(data), panel(), runs)
    with pytest.raises(UserError, match="not finished yet"):
        serve.serve(ToServe(made.recipe, made.stages, runs.uri, Door(), print))
    made.run(quiet)
    with pytest.raises(UserError, match="none is of kind vllm"):
        serve.serve(ToServe(made.recipe, made.stages, runs.uri, Door(), print))
    assert endpoints.models == []
