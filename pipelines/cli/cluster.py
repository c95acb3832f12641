"""Commands about the cluster: write down what starts it."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.kuberay import IMAGE
from cluster.profile import load
from pipelines.cli.app import app


@app.command()
def manifests(
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="A profile's YAML file, or a shipped name.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the files go.")],
    image: Annotated[str, typer.Option("--image", help="What its nodes run (see cluster/Dockerfile).")] = IMAGE,
    serve: Annotated[
        Path | None,
        typer.Option("--serve", metavar="FILE", help="A file of `tutelage serve RUN --config`, for rayservice.yaml."),
    ] = None,
) -> None:
    """Write what starts a profile's cluster: KubeRay's RayCluster, RayJob and RayService, and a file for `ray up`."""
    from pipelines.runs import manifests as written

    for file in written.write(load(profile), image, serve, out):
        typer.echo(str(file))
