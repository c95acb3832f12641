"""Commands about jobs on a cluster: hand a run over, follow it, list them, stop one."""

import time
from pathlib import Path
from typing import Annotated

import typer

from cluster.jobs import Job, Jobs
from pipelines.cli.app import ProfileOption, RecipeArg, SetOption, app, profiled
from pipelines.core import recipe_file

JobArg = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, as `submit` and `jobs` tell it.")]
DashboardOption = Annotated[
    str, typer.Option("--address", metavar="URL", help="The cluster's dashboard: http://HEAD:8265")
]


@app.command()
def submit(
    recipe: RecipeArg,
    address: DashboardOption,
    runs: Annotated[str, typer.Option("--runs", help="A folder that all nodes see, or a URI (s3://bucket/runs).")],
    set_: SetOption = None,
    profile: ProfileOption = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Stop, resumably, after this many tokens.")] = None,
    max_hours: Annotated[float | None, typer.Option(min=0.0, help="Stop, resumably, after this time.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show its progress, and fetch its report at the end.")
    ] = False,
) -> None:
    """Hand a run over to a cluster as a Ray job, which goes on when this terminal is closed.

    Submit it again when it has ended early, and it goes on where it was. With --follow this command has the run's own
    exit code, and the report is fetched into this folder.
    """
    from pipelines.runs.submitted import Submission, report_of
    from pipelines.runs.submitted import submit as hand_over

    submission = Submission(recipe_file.load(recipe, set_ or []), runs, profiled(profile), max_tokens, max_hours)
    jobs = Jobs(address)
    id = hand_over(submission, jobs)
    typer.echo(f"handed over as {id}\n{_ways(id, jobs)}")
    if follow:
        job = _followed(id, jobs)
        if job.exit_code == 0:
            file = Path(f"{id}.html")
            _fetch(report_of(job, jobs), file)
        raise typer.Exit(job.exit_code)


@app.command("jobs")
def list_jobs(address: DashboardOption) -> None:
    """List the jobs that were handed over to a cluster, newest first."""
    for job in Jobs(address).ours():
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.started))
        minutes = ((job.ended or time.time()) - job.started) / 60
        typer.echo(f"{job.id:<48} {job.status:<9} {when} {minutes:>8,.1f} min  {job.about.get('runs', '')}")


@app.command()
def logs(
    job: JobArg,
    address: DashboardOption,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the job has ended, with its exit code.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Fetch the run's report into this file instead.")
    ] = None,
) -> None:
    """Show what a job has written."""
    from pipelines.runs.submitted import report_of

    jobs = Jobs(address)
    if report:
        _fetch(report_of(jobs.job(job), jobs), report)
    elif follow:
        raise typer.Exit(_followed(job, jobs).exit_code)
    else:
        typer.echo(jobs.log(job), nl=False)


@app.command()
def stop(job: JobArg, address: DashboardOption) -> None:
    """Stop a job. What its run has done is kept; submit the same recipe again to go on."""
    ended = Jobs(address).stop(job)
    typer.echo(f"{ended.id} is {ended.status}")


def _followed(id: str, jobs: Jobs) -> Job:
    try:
        job = jobs.follow(id, lambda text: typer.echo(text, nl=False), lambda text: typer.echo(text, err=True))
    except KeyboardInterrupt:
        typer.echo(f"\n{id} goes on without you.\n{_ways(id, jobs)}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{id} is {job.status}" + (f": {job.why}" if job.exit_code and job.why else ""))
    return job


def _ways(id: str, jobs: Jobs) -> str:
    return (
        f"  follow it: tutelage logs {id} --address {jobs.address} --follow\n"
        f"  stop it:   tutelage stop {id} --address {jobs.address}"
    )


def _fetch(report: tuple[str, bytes], file: Path) -> None:
    place, page = report
    file.write_bytes(page)
    typer.echo(f"report: {file} (a copy of {place})")
