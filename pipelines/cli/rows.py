"""Commands about rows in files: formats in and out, near ones, the tokens that carry loss."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from pipelines.cli.app import RunsOption, SetOption, app, counts
from pipelines.core.config import Learn, Method, Template
from pipelines.core.progress import Progress
from pipelines.formats import ExportFormat, ImportFormat


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
        typer.echo(f"dropped, and kept in {out}/dropped: {counts(made['dropped'])}")


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
        typer.echo(f"left out, as {to} has no place for them: {counts(written.left_out)}")


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
