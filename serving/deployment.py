"""Models that a cluster serves without anybody who waits: what `serve deploy` is given, and what that makes.

Knows Serve's file and the application that it names. The file holds no key, only where keys' hashes lie; it and the
models' folders have to be where every node reads them.
"""

from typing import Any

from cluster.profile import Profile
from cluster.session import joined
from pipelines.core.config import Strict
from serving.door import Door
from serving.endpoints import QUIET, http_options
from serving.holding import holding
from serving.served import Served
from serving.shown import RowsFile
from serving.site import Site

NAME = "tutelage"


class Deployment(Strict):
    """What is served, to whom."""

    models: tuple[Served, ...]
    door: Door
    rows: RowsFile | None = None  # what the page shows of the run
    profile: Profile | None = None


def application(deployment: Deployment) -> Any:
    """What Serve makes of the file, in a process on the cluster."""
    return holding(deployment.models, joined(deployment.profile), deployment.door, Site(deployment.rows))


def config(deployment: Deployment, port: int) -> dict[str, Any]:
    """The file, by Serve's schema."""
    made = {
        "name": NAME,
        "route_prefix": "/",
        "import_path": f"{__name__}:{application.__name__}",
        "args": deployment.model_dump(mode="json"),
    }
    return {
        "http_options": http_options(deployment.door, port),
        "logging_config": QUIET,
        "applications": [made],
    }
