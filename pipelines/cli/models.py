"""Commands about a run's models, and about the machine: serve them, ask what would help the student."""

from typing import Annotated

import typer

from pipelines.cli.app import AddressOption, PortOption, RunArg, RunsOption, SetOption, app, counts
from pipelines.core.progress import Budget, Progress
from pipelines.core.records import InfluenceMethod


@app.command()
def serve(
    run: RunArg,
    runs: RunsOption = "runs",
    address: AddressOption = None,
    port: PortOption = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Serve what tells how much a row would help the student (POST /v1/influence) in their place.",
        ),
    ] = False,
) -> None:
    """Serve a run's teacher and student as OpenAI-compatible endpoints, until Ctrl-C."""
    from pipelines.runs import api
    from pipelines.runs import serve as serving_run

    recipe, _, stages = api.open_run(run, runs)
    what = serving_run.serve_probe if probe else serving_run.serve
    what(recipe, stages, runs, address, port, typer.echo)


@app.command()
def probe(
    run: RunArg,
    rows: Annotated[str, typer.Option("--rows", metavar="FILE", help="JSON lines of {instruction, response}.")],
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Where scores go, a JSON line for each row.")],
    method: Annotated[
        InfluenceMethod, typer.Option("--method", help="Measured; told by a slope; or by a sample of one.")
    ] = "first_order",
    runs: RunsOption = "runs",
    set_: SetOption = None,
    address: AddressOption = None,
) -> None:
    """Score rows of your own: how much would each help a run's student? Run it again to go on where it was."""
    from pipelines.runs import api
    from pipelines.runs import probe as probing

    recipe, _, stages = api.open_run(run, runs, set_ or [])
    told = probing.score(recipe, stages, rows, method, out, runs, address, Progress(Budget()))
    typer.echo(f"{told.scored:,} rows scored in {out}, {sum(told.dropped.values()):,} dropped ({counts(told.dropped)})")
    for words in told.told:
        typer.echo(words)


@app.command()
def doctor() -> None:
    """Say what this machine has and what is missing."""
    from pipelines.runs import doctor as examination

    lines, healthy = examination.examine()
    for line in lines:
        typer.echo(line)
    raise typer.Exit(0 if healthy else 1)
