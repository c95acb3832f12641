"""The command line. Knows arguments and words; the work is in `runs.api`.

Exit codes: 0 done, 2 the user's mistake (the message says what to do), 1 a failure or a budget that was reached
(run the same command again to go on).
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from pipelines.core.config import Learn, Method, Template
from pipelines.core.errors import BudgetReached, Unreachable, UserError
from pipelines.core.progress import Budget, Progress
from pipelines.core.records import InfluenceMethod
from pipelines.formats import ExportFormat, ImportFormat

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
PortOption = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Where models are served.")]


@app.command()
def run(
    recipe: RecipeArg,
    runs: RunsOption = "runs",
    set_: SetOption = None,
    address: AddressOption = None,
    port: PortOption = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Stop, resumably, after this many tokens.")] = None,
    max_hours: Annotated[float | None, typer.Option(min=0.0, help="Stop, resumably, after this time.")] = None,
) -> None:
    """Do what the recipe says, and write the report. Run it again to go on where it was.

    Finished stages are reused: a second run takes seconds, and a changed setting reruns only what it changes.
    """
    from pipelines.runs import api, reporting

    loaded = api.load(recipe, set_ or [])
    budget = Budget(max_tokens, max_hours * 3600 if max_hours is not None else None)
    ran = api.run(loaded, runs, address, budget, Progress(budget), port)
    cached = frozenset(f.stage.name for f in ran.stages if f.cached)
    made = reporting.of_run(
        loaded, ran.run_folder, [f.stage for f in ran.stages], _command(recipe, runs, set_, address), cached
    )
    typer.echo(reporting.summary(made))
    typer.echo(f"\nreport: {reporting.save(made, ran.run_folder)}")


@app.command()
def plan(
    recipe: RecipeArg,
    runs: RunsOption = "runs",
    set_: SetOption = None,
    check: Annotated[bool, typer.Option("--check", help="Also reach models, storage and the cluster.")] = False,
    address: AddressOption = None,
    port: PortOption = None,
) -> None:
    """Show what a run would do: the stages, which are done, tokens and memory. Starts nothing."""
    from pipelines.runs import api

    loaded = api.load(recipe, set_ or [])
    planned = api.plan(loaded, runs)
    typer.echo(f"{planned.run_folder.name}  (in {runs})\n")
    for row in planned.stages:
        rows = f"{row.done.manifest['rows']:,} rows" if row.done else row.stage.estimate
        typer.echo(f"  {row.state:<8} {row.stage.name:<15} {row.stage.key}  {rows}")
    typer.echo("\n" + "\n".join(f"  {fact}" for fact in planned.facts))
    if check:
        for fact in api.check(loaded, runs, address, port):
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
def serve(run: RunArg, runs: RunsOption = "runs", address: AddressOption = None, port: PortOption = None) -> None:
    """Serve a run's teacher and student as OpenAI-compatible endpoints, until Ctrl-C."""
    from pipelines.runs import api
    from pipelines.runs import serve as serving_run

    recipe, _, stages = api.open_run(run, runs)
    serving_run.serve(recipe, stages, runs, address, port, typer.echo)


@app.command()
def trace(
    id: Annotated[str, typer.Argument(metavar="ID", help="The id of any row: an instruction, an answer, an example.")],
    runs: RunsOption = "runs",
) -> None:
    """Follow a row back to its seed."""
    from pipelines.runs import lineage

    for line in lineage.trace(id, runs):
        typer.echo(line)


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A file or folder, or owner/name on the hub (hf).")],
    from_: Annotated[ImportFormat, typer.Option("--from", help="What SRC holds.")],
    out: Annotated[str, typer.Option("--out", metavar="FOLDER", help="The new folder of conversations.")],
    split: Annotated[str | None, typer.Option(help="Of a dataset with splits (hf); train without it.")] = None,
) -> None:
    """Read conversations of any of these formats; bad rows are kept apart, with their reasons."""
    from pipelines.formats import folder

    made = folder.import_(source, from_, out, split).manifest
    typer.echo(f"{made['rows']:,} conversations from {made['facts']['file']} are in {out}")
    if made["dropped"]:
        typer.echo(f"dropped, and kept in {out}/dropped: {_counts(made['dropped'])}")


@app.command()
def export(
    what: Annotated[str, typer.Argument(metavar="RUN|FOLDER", help="A run, its recipe, or an imported folder.")],
    to: Annotated[ExportFormat, typer.Option("--to", help="The format to write.")],
    out: Annotated[str, typer.Option("--out", metavar="PATH", help="The new file, or folder for hf.")],
    runs: RunsOption = "runs",
    set_: SetOption = None,
    license: Annotated[str | None, typer.Option(help="For the card of an hf dataset, e.g. apache-2.0.")] = None,
) -> None:
    """Write a run's training answers, or an imported folder, in a format that other tools read."""
    from pipelines.runs import export as exporting

    written = exporting.export(what, to, out, runs, set_ or [], license)
    typer.echo(f"{written.rows:,} conversations are in {out}")
    if written.left_out:
        typer.echo(f"left out, as {to} has no place for them: {_counts(written.left_out)}")


@app.command()
def dedupe(
    source: Annotated[Path, typer.Argument(metavar="IN", help="JSON lines, or a JSON file that holds one list.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the kept rows go, as they were read.")],
    field: Annotated[str, typer.Option("--field", help="The text to compare.")] = "instruction",
    threshold: Annotated[float, typer.Option("--threshold", help="Drop a row whose similarity is above this.")] = 0.7,
    dropped: Annotated[
        Path | None,
        typer.Option("--dropped", metavar="FILE", help="Where the dropped rows go, each with its reason and nearest."),
    ] = None,
    method: Annotated[
        Literal["rouge-l", "minhash", "embedding"],
        typer.Option("--method", help="ROUGE-L F1; Jaccard of word triples, estimated; cosine of embeddings."),
    ] = "rouge-l",
    model: Annotated[
        str | None, typer.Option("--model", help="Whose embeddings: a folder, or owner/name@COMMIT on the hub.")
    ] = None,
) -> None:
    """Drop the rows of a file that are near an earlier one; the first of near ones is kept.

    By ROUGE-L it is exact: the same rows as comparing all pairs would keep. Lines that cannot be read are counted and
    dropped.
    """
    from pipelines.generate import dedupe as deduping

    make_pool = deduping.way(method, model)
    counts = deduping.dedupe(source, field, threshold, out, dropped, Progress(), make_pool)
    typer.echo(f"{counts} in {counts.seconds:.1f} s\nkept rows: {out}")


@app.command("show-tokens")
def show_tokens(
    data: Annotated[str, typer.Option("--data", metavar="FILE", help="Conversations, in any format of `import`.")],
    format: Annotated[ImportFormat, typer.Option("--from", help="What the file holds.")],
    tokenizer: Annotated[str, typer.Option("--tokenizer", metavar="MODEL", help="A model, as in a recipe.")],
    row: Annotated[int, typer.Option("--row", min=0, help="Which of its good rows, from 0.")] = 0,
    method: Annotated[Method, typer.Option("--method", help="What carries loss.")] = "sft",
    template: Annotated[Template, typer.Option("--template", help="How it is rendered.")] = "chat",
    prompt_weight: Annotated[
        float | None, typer.Option("--prompt-weight", min=0, max=1, help="Weight of the prompt's tokens.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of {id, text, role, ce_weight, side}.")] = False,
) -> None:
    """Print a row's tokens with the weight of each one's loss: what a student of `method: tune` would learn."""
    from pipelines.runs import show_tokens as showing

    learn = Learn(method=method, prompt_weight=prompt_weight, template=template)
    tokens = showing.of_row(data, format, row, learn, tokenizer)
    if as_json:
        typer.echo(json.dumps([asdict(token) for token in tokens], ensure_ascii=False))
    else:
        Console().print(showing.coloured(tokens))


@app.command()
def probe(
    run: RunArg,
    rows: Annotated[str, typer.Option("--rows", metavar="FILE", help="JSON lines of {instruction, response}.")],
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Where scores go, a JSON line for each row.")],
    method: Annotated[InfluenceMethod, typer.Option("--method", help="Measured, or told by a slope.")] = "first_order",
    runs: RunsOption = "runs",
    set_: SetOption = None,
    address: AddressOption = None,
) -> None:
    """Score rows of your own: how much would each help a run's student? Run it again to go on where it was."""
    from pipelines.runs import api
    from pipelines.runs import probe as probing

    recipe, _, stages = api.open_run(run, runs, set_ or [])
    told = probing.score(recipe, stages, rows, method, out, runs, address, Progress(Budget()))
    typer.echo(
        f"{told.scored:,} rows scored in {out}, {sum(told.dropped.values()):,} dropped ({_counts(told.dropped)})"
    )
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


def main() -> None:
    """The `tutelage` command."""
    try:
        app(standalone_mode=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        _leave(2)
    except (BudgetReached, Unreachable) as error:
        print(f"{error}\nEverything so far is kept: run the same command again to go on.", file=sys.stderr)
        _leave(1)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        _leave(1)


def _leave(code: int) -> None:
    sys.stderr.flush()
    sys.stdout.flush()
    sys.exit(code)


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))


def _command(recipe: str, runs: str, sets: list[str] | None, address: str | None) -> str:
    """The command that repeats this run."""
    parts = ["tutelage run", recipe, *(f"--set {s}" for s in sets or [])]
    parts += [f"--runs {runs}"] if runs != "runs" else []
    return " ".join([*parts, *([f"--address {address}"] if address else [])])


if __name__ == "__main__":
    main()
