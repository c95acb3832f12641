"""What all commands share: the application, their arguments, and how counts are said."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from cluster import profile
from cluster.profile import Profile

app = typer.Typer(
    help="Small language models that learned from big ones, on your own Ray cluster.\n\n"
    "Start with: tutelage run quickstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RecipeArg = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's YAML file, or a shipped recipe's name.")]
RunArg = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder name, or its recipe.")]
RunsOption = Annotated[str, typer.Option("--runs", help="Where runs are kept: a folder or a URI (s3://bucket/runs).")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. --set instructions.target=100."),
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", help="A running Ray cluster; without it one is started on this machine."),
]
KeysOption = Annotated[
    Path | None,
    typer.Option("--keys", metavar="FILE", help="The file of keys; without it ~/.config/tutelage/keys.json."),
]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME|FILE", help="What the cluster is made of: a YAML file, or a shipped name."),
]
PortOption = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Where models are served.")]


def profiled(name: str | None) -> Profile | None:
    """A profile by file or shipped name, where one is named."""
    return profile.load(name) if name else None


def counts(reasons: Mapping[str, int]) -> str:
    """Reasons with how often they came."""
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
