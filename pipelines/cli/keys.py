"""Commands about keys: who may ask what is served."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.app import KeysOption, app
from serving import keys

keys_app = typer.Typer(help="Keys with which clients come in to what `tutelage serve` serves.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")

NameArg = Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is; limits and metrics go by it.")]


@keys_app.command()
def create(name: NameArg, file: KeysOption = None) -> None:
    """Make a key, and print it this once: what is kept cannot be turned back into it."""
    typer.echo(keys.create(_file(file), name))
    typer.echo(
        "Keep it: it is not shown again. A server that runs without keys needs one from its next start.", err=True
    )


@keys_app.command("list")
def list_keys(file: KeysOption = None) -> None:
    """Whose keys there are, since when, and until when."""
    for key in keys.read(_file(file)):
        typer.echo(f"{key.name:<24} made {key.made}  {f'revoked {key.revoked}' if key.revoked else 'live'}")


@keys_app.command()
def revoke(name: NameArg, file: KeysOption = None) -> None:
    """Let nobody in with this key any more, running servers included."""
    keys.revoke(_file(file), name)
    typer.echo(f"the key of {name!r} is revoked")


def _file(named: Path | None) -> Path:
    """Where a link leads: it is the file that is replaced, not the link."""
    return (named or keys.default_file()).resolve()
