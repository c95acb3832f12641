"""Commands about runs: make one, look at it, follow a row, let go of it."""

import json
from typing import Annotated

import typer

from pipelines.cli.app import (
    AddressOption,
    PortOption,
    ProfileOption,
    RecipeArg,
    RunArg,
    RunsOption,
    SetOption,
    app,
    profiled,
)
from pipelines.core.progress import Budget, Progress


@app.command()
def run(
    recipe: RecipeArg,
    runs: RunsOption = "runs",
    set_: SetOption = None,
    address: AddressOption = None,
    port: PortOption = None,
    profile: ProfileOption = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Stop, resumably, after this many tokens.")] = None,
    max_hours: Annotated[float | None, typer.Option(min=0.0, help="Stop, resumably, after this time.")] = None,
) -> None:
    """Do what the recipe says, and write the report. Run it again to go on where it was.

    Finished stages are reused: a second run takes seconds, and a changed setting reruns only what it changes.
    """
    from pipelines.runs import api, reporting, terminal

    loaded = api.load(recipe, set_ or [])
    budget = Budget(max_tokens, max_hours * 3600 if max_hours is not None else None)
    ran = api.run(loaded, runs, address, budget, Progress(budget), port, profiled(profile))
    cached = frozenset(f.stage.name for f in ran.stages if f.cached)
    made = reporting.of_run(
        loaded, ran.run_folder, [f.stage for f in ran.stages], _command(recipe, runs, set_, address, profile), cached
    )
    typer.echo(terminal.summary(made))
    typer.echo(f"\nreport: {reporting.save(made, ran.run_folder)}")


@app.command()
def plan(
    recipe: RecipeArg,
    runs: RunsOption = "runs",
    set_: SetOption = None,
    check: Annotated[bool, typer.Option("--check", help="Also reach models, storage and the cluster.")] = False,
    address: AddressOption = None,
    port: PortOption = None,
    profile: ProfileOption = None,
) -> None:
    """Show what a run would do: the stages, which are done, tokens and memory. Starts nothing.

    With a profile, also what will be asked of the cluster, and whether it can ever be had.
    """
    from pipelines.runs import api

    loaded = api.load(recipe, set_ or [])
    cluster = profiled(profile)
    planned = api.plan(loaded, runs, cluster)
    typer.echo(f"{planned.run_folder.name}  (in {runs})\n")
    for row in planned.stages:
        rows = f"{row.done.manifest['rows']:,} rows" if row.done else row.stage.estimate
        typer.echo(f"  {row.state:<8} {row.stage.name:<15} {row.stage.key}  {rows}")
    typer.echo("\n" + "\n".join(f"  {fact}" for fact in planned.facts))
    if check:
        for fact in api.check(loaded, runs, address, port, cluster):
            typer.echo(f"  reached: {fact}")


@app.command("runs")
def list_runs(runs: RunsOption = "runs") -> None:
    """List the runs, newest first."""
    from pipelines.runs import shelf

    for row in shelf.runs(runs):
        typer.echo(f"{row.name:<40} {row.status:<8} {row.when}  {row.size_mib:>8,.0f} MiB")


@app.command()
def rm(run: RunArg, runs: RunsOption = "runs") -> None:
    """Remove a run, and the stages and completions that no other run uses."""
    from pipelines.runs import shelf

    removed, freed = shelf.remove(run, runs)
    typer.echo(f"removed {len(removed)} folders, {freed / 2**20:,.0f} MiB freed")


@app.command()
def report(
    run: RunArg,
    runs: RunsOption = "runs",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Write a run's report again, and say where it is. Works for a run that is not finished, too."""
    from pipelines.report.data import to_json
    from pipelines.runs import api, reporting

    recipe, folder, stages = api.open_run(run, runs)
    made = reporting.of_run(recipe, folder, stages)
    if as_json:
        typer.echo(json.dumps(to_json(made), ensure_ascii=False, indent=1))
    else:
        typer.echo(reporting.save(made, folder))


@app.command()
def trace(
    id: Annotated[str, typer.Argument(metavar="ID", help="The id of any row: an instruction, an answer, an example.")],
    runs: RunsOption = "runs",
) -> None:
    """Follow a row back to its seed."""
    from pipelines.runs import lineage

    for line in lineage.trace(id, runs):
        typer.echo(line)


def _command(recipe: str, runs: str, sets: list[str] | None, address: str | None, profile: str | None) -> str:
    """The command that repeats this run."""
    parts = ["tutelage run", recipe, *(f"--set {s}" for s in sets or [])]
    parts += [f"--runs {runs}"] if runs != "runs" else []
    parts += [f"--address {address}"] if address else []
    return " ".join([*parts, *([f"--profile {profile}"] if profile else [])])
