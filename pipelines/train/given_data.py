"""Data that is there already becomes training examples, and others that are held out.

Knows the sources of a recipe and how their rows are split: by the prompt, so that no prompt is in both, and by the
recipe's seed. How a conversation becomes tokens is in `examples.py`. Every row of every source is there in the end: as
an example of one of the two stages, or as a Dropped row.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from heapq import nsmallest
from pathlib import Path
from typing import cast, get_args

from pipelines.core.builtin import SEED_TASKS
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Data, Learn, Source
from pipelines.core.errors import UserError
from pipelines.core.hashing import file_digest, key_of
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Conversation, Dropped, Split, TrainExample
from pipelines.core.stage import Done, Outcome, StageRun
from pipelines.formats import ImportFormat
from pipelines.formats.folder import is_imported, open_imported, read_file
from pipelines.formats.sources import format_of
from pipelines.train.examples import of_conversation, sizes

TRAIN, HELD_OUT = "examples", "held_out_examples"
STAGES: dict[Split, str] = {"train": TRAIN, "held_out": HELD_OUT}
Rows = tuple[list[Conversation], list[Dropped]]


def content_key(key: str, source: Source) -> str:
    """What of the content of the source under this key of the recipe enters a stage's key. UserError where there is
    nothing to read.
    """
    path = _path(source)
    if path.is_dir() and is_imported(str(path)):
        return str(open_imported(str(path))[0]["digest"])
    _format(key, source, path)
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    return key_of(*[[f.name, file_digest(f)] for f in files])


def run(
    data: Data, learn: Learn, seed: int, split: Split, tokenizer: ChatTokenizer, max_length: int, run: StageRun
) -> Outcome:
    """Render the rows of one half of every source; the other half's are neither here nor dropped."""
    kept: list[TrainExample] = []
    dropped: list[Dropped] = []
    for name, (rows, bad) in split_sources(data, seed)[split].items():
        dropped += [replace(row, stage=STAGES[split]) for row in bad]
        for row in rows:
            made = of_conversation(row, tokenizer, learn, max_length, data.sources[name].weight)
            if isinstance(made, Dropped):
                dropped.append(replace(made, stage=STAGES[split]))
            else:
                kept.append(replace(made, source=name))
    write_rows(run.folder, kept, TrainExample, dropped)
    count, digest, reasons = summary(run.folder, TrainExample)
    return Outcome(count, digest, reasons, facts={**sizes(kept), "sources": dict(Counter(e.source for e in kept))})


def trained_on(data: Data, seed: int, examples: Done) -> Iterator[tuple[TrainExample, Conversation]]:
    """The finished stage's examples, each with the conversation that it was made of."""
    halves = split_sources(data, seed)["train"]
    rows = {row.id: row for kept, _ in halves.values() for row in kept}
    for example in rows_of(examples.folder, TrainExample):
        yield example, rows[example.answer_id]


def split_sources(data: Data, seed: int) -> dict[Split, dict[str, Rows]]:
    """Each half's rows and drops by source. What was dropped stands in the training half.

    A prompt that stands in two sources stays where it stood first. UserError where a source has too few rows.
    """
    halves: dict[Split, dict[str, Rows]] = {"train": {}, "held_out": {}}
    first_in: dict[str, str] = {}
    for name, source in data.sources.items():
        rows, dropped = _read(f"data.sources.{name}", source)
        rows = _wanted(rows, source)
        kept = [row for row in rows if first_in.setdefault(_prompt(row), name) == name]
        dropped += [_twice(row, first_in[_prompt(row)]) for row in rows if first_in[_prompt(row)] != name]
        prompts = sorted({_prompt(row) for row in kept}, key=lambda prompt: key_of("split", seed, prompt))
        apart = set(prompts[: data.held_out])
        train = [row for row in kept if _prompt(row) not in apart]
        if not train:
            taken = " that `where` takes" if source.where else ""
            raise UserError(
                f"data.sources.{name}: {len(kept)} good rows{taken} ({len(dropped)} dropped) are too few to hold "
                f"{data.held_out} out; lower data.held_out or add rows"
            )
        most = source.limit or len(train)
        halves["train"][name] = nsmallest(most, train, key=lambda row: key_of("limit", seed, row.id)), dropped
        halves["held_out"][name] = [row for row in kept if _prompt(row) in apart], []
    return halves


def drawn(key: str, source: Source, seed: int) -> list[Conversation]:
    """The good rows of the source under this key of the recipe, as many as it is to have."""
    rows, _ = _read(key, source)
    return nsmallest(source.limit or len(rows), _wanted(rows, source), key=lambda row: key_of("limit", seed, row.id))


def _wanted(rows: list[Conversation], source: Source) -> list[Conversation]:
    return [row for row in rows if source.where.items() <= json.loads(row.extra).items()]


def _twice(row: Conversation, first: str) -> Dropped:
    return Dropped(row.id, TRAIN, "in two sources", row.turns[0], f"its prompt is in {first} too")


def _read(key: str, source: Source) -> Rows:
    path = _path(source)
    if path.is_dir() and is_imported(str(path)):
        return list(open_imported(str(path))[1]), []
    return read_file(str(path), _format(key, source, path))


def _path(source: Source) -> Path:
    return SEED_TASKS if source.path == "builtin" else Path(source.path).expanduser()


def _format(key: str, source: Source, path: Path) -> ImportFormat:
    """How a source's rows are read. UserError where that cannot be told."""
    if not path.exists():
        raise UserError(
            f"{key}.path: there is no file or folder {source.path!r}; give a file, a folder that "
            "`tutelage import` made, or 'builtin'"
        )
    found = source.format or ("self-instruct" if source.path == "builtin" else format_of(path))
    if found not in get_args(ImportFormat):
        raise UserError(f"{key}: {path.name} looks like no format that is known; name its `format`")
    return cast(ImportFormat, found)


def _prompt(row: Conversation) -> str:
    return key_of("prompt", row.messages()[: 2 if row.system else 1])
