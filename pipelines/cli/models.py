"""Commands about a run's models, and about the machine: serve them, ask what would help the student."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.app import (
    AddressOption,
    KeysOption,
    PortOption,
    ProfileOption,
    RunArg,
    RunsOption,
    SetOption,
    app,
    counts,
    profiled,
)
from pipelines.core.errors import UserError
from pipelines.core.progress import Budget, Progress
from pipelines.core.records import InfluenceMethod
from serving.door import HOST, opened
from serving.limits import Limits

MB = 2**20


@app.command()
def serve(
    run: RunArg,
    runs: RunsOption = "runs",
    address: AddressOption = None,
    port: PortOption = None,
    profile: ProfileOption = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Serve what tells how much a row would help the student (POST /v1/influence) in their place.",
        ),
    ] = False,
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="NAME", help="Serve this one only; may be said again.")
    ] = None,
    replicas: Annotated[
        list[str] | None,
        typer.Option("--replicas", metavar="MODEL=MIN:MAX", help="How many engines Serve keeps of a model, from 0 on."),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option("--adapter", metavar="MODEL/NAME=FOLDER", help="A LoRA adapter of a model, as one more model."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Write down what `serve deploy` needs, and serve nothing."),
    ] = None,
    keys: KeysOption = None,
    host: Annotated[
        str, typer.Option("--host", help="Where to listen; 0.0.0.0 is reached from other machines, and needs a key.")
    ] = HOST,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="That one key may send.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="Of one key, read and written.")] = None,
    max_tokens_per_request: Annotated[int | None, typer.Option(min=1, help="That may be written for one.")] = None,
    max_body_mb: Annotated[float, typer.Option(min=0.001, help="The largest request.")] = Limits.body_bytes / MB,
) -> None:
    """Serve a run's models as OpenAI-compatible endpoints, with a page to compare them, until Ctrl-C.

    These are teacher, student-before and student, or the models that were compared. Without a live key (see
    `tutelage keys`) they answer this machine only. Limits hold for each key.
    """
    from pipelines.runs import api
    from pipelines.runs import serve as serving_run
    from pipelines.runs.served_with import ALL, Wanted

    wanted = Wanted(model or (), replicas or (), adapter or ())
    if probe and (wanted != ALL or config):
        raise UserError("--model, --replicas, --adapter and --config are for models that answer, which --probe is not")
    limits = Limits(requests_per_minute, tokens_per_minute, max_tokens_per_request, int(max_body_mb * MB))
    door = opened(host, keys, limits)
    recipe, _, stages = api.open_run(run, runs)
    asked = serving_run.ToServe(recipe, stages, runs, door, typer.echo, port, address, profiled(profile))
    if probe:
        serving_run.serve_probe(asked)
    elif config:
        serving_run.write_down(asked, wanted, config)
    else:
        serving_run.serve(asked, wanted)


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
    profile: ProfileOption = None,
) -> None:
    """Score rows of your own: how much would each help a run's student? Run it again to go on where it was."""
    from pipelines.runs import api
    from pipelines.runs import probe as probing

    recipe, _, stages = api.open_run(run, runs, set_ or [])
    told = probing.score(recipe, stages, rows, method, out, runs, address, Progress(Budget()), profiled(profile))
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
