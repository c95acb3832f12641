"""The command that puts load on what is served."""

import asyncio
import json
import os
from typing import Annotated, Any

import typer

from pipelines.cli.app import app, counts
from pipelines.core.errors import UserError


@app.command()
def load(
    url: Annotated[str, typer.Argument(metavar="URL", help="An OpenAI-compatible address: http://127.0.0.1:8123/v1")],
    model: Annotated[str, typer.Option("--model", help="As the server names it.")],
    clients: Annotated[int, typer.Option(min=1, help="Each asks when its last answer has ended.")] = 8,
    requests: Annotated[int, typer.Option(min=1, help="In all.")] = 100,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of each answer.")] = 128,
    key_env: Annotated[
        str | None, typer.Option("--key-env", metavar="VARIABLE", help="The environment variable that holds a key.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Ask what is served by many clients at once: tokens per second, seconds per answer, and what became of each.

    Ends with 1 where a request ended without an answer and without a word.
    """
    from pipelines.core.builtin import SEED_TASKS
    from serving import load as loading

    if key_env is not None and not os.environ.get(key_env):
        raise UserError(f"--key-env: the environment variable {key_env} is not set")
    prompts = [json.loads(line)["instruction"] for line in SEED_TASKS.read_text(encoding="utf-8").splitlines()]
    asked = loading.Load(
        url.rstrip("/"), model, os.environ[key_env] if key_env else "none", prompts, requests, clients, max_tokens
    )
    told = loading.told(*asyncio.run(loading.put(asked)))
    typer.echo(json.dumps(told) if as_json else _words(told))
    if told["outcomes"].get("lost"):
        raise typer.Exit(1)


def _words(told: dict[str, Any]) -> str:
    lines = [counts(told["outcomes"]), f"{told['tokens_per_s']:,.0f} tokens/s of whole answers"]
    for name, what in (("first_word_s", "to the first word"), ("answer_s", "to the end")):
        if told[name]:
            p50, p95 = told[name]
            lines.append(f"{p50:.2f} s {what} (median), {p95:.2f} s (95th percentile)")
    return "\n".join([*lines, *(f"{count:,} times: {why}" for why, count in told["why"].items())])
