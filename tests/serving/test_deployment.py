"""What `serve deploy` is given: by Serve's own schema, and the same again when it is read."""

from pathlib import Path

import yaml
from ray.serve.schema import ServeDeploySchema

from cluster.adapters import Adapter
from cluster.engines import Replicas
from pipelines.core.config import Engine
from pipelines.core.storage import Folder
from serving import deployment, keys
from serving.deployment import Deployment
from serving.door import Door
from serving.limits import Limits
from serving.served import Served
from serving.shown import kept


def test_the_file_is_serves_and_says_all_that_is_served(runs: Folder, tmp_path: Path) -> None:
    held = (Adapter("student/french", tmp_path / "french", 8),)
    models = (Served("student", tmp_path, "d", Engine(max_num_seqs=8), Replicas(0, 4), held),)
    key = keys.create(tmp_path / "keys.json", "ann")
    door = Door("0.0.0.0", tmp_path / "keys.json", Limits(requests_per_minute=60))
    given = Deployment(models=models, door=door, rows=kept(runs, [], "nothing was said"))
    text = yaml.safe_dump(deployment.config(given, 8200))
    assert key not in text
    read = ServeDeploySchema.model_validate(yaml.safe_load(text))
    assert (read.http_options.host, read.http_options.port) == ("0.0.0.0", 8200)
    (application,) = read.applications
    assert application.import_path == "serving.deployment:application"
    assert Deployment.model_validate(application.args) == given
