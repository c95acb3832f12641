"""The files that start a cluster: the shipped ones are what the shipped profile makes."""

from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

import cluster
from cluster import profile
from pipelines.core.config import Engine
from pipelines.core.errors import UserError
from pipelines.runs import manifests
from serving.deployment import Deployment

SHIPPED = Path(cluster.__file__).parent / "manifests"


def test_the_shipped_files_are_what_the_profile_makes() -> None:
    """Else: `tutelage manifests pools --out cluster/manifests`."""
    assert {file.name: file.read_text() for file in SHIPPED.iterdir()} == manifests.files(profile.load("pools"))


def test_the_example_of_endpoints_is_one_that_serve_and_we_read() -> None:
    made = manifests.example(profile.load("pools"))
    (application,) = ServeDeploySchema.model_validate(made).applications
    read = Deployment.model_validate(application.args)
    assert read.profile == profile.load("pools")
    assert read.models[0].engine == Engine()
    assert read.door.keys is not None


def test_a_runs_own_file_and_image_take_their_places(tmp_path: Path) -> None:
    mine = manifests.example(profile.load("one-gpu")) | {"http_options": {"host": "0.0.0.0", "port": 8200}}
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(mine))
    files = manifests.write(profile.load("one-gpu"), "registry/mine:1", tmp_path / "serve.yaml", tmp_path / "out")
    assert [file.name for file in files] == ["raycluster.yaml", "rayjob.yaml", "rayservice.yaml"]  # no machines named
    service = yaml.safe_load((tmp_path / "out" / "rayservice.yaml").read_text())
    assert yaml.safe_load(service["spec"]["serveConfigV2"]) == mine
    head = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert head["image"] == "registry/mine:1"


def test_a_file_that_is_not_serves_is_refused(tmp_path: Path) -> None:
    (tmp_path / "serve.yaml").write_text("a: 1\n")
    with pytest.raises(UserError, match=r"--serve .* give a file of `tutelage serve RUN --config"):
        manifests.write(profile.load("one-gpu"), "i", tmp_path / "serve.yaml", tmp_path)
