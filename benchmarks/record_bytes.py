"""Bytes of a stored record, fixed and per token. Prints a Markdown table.

    .venv/bin/python benchmarks/record_bytes.py

The text is this repository's own, prose and code, cut into answers of two lengths: the difference is what a token
costs, as far as such text is like a teacher's. Records are written as a run writes them, in the ledger's small parts
and a stage's large ones. Signals are random, as nothing is known of a real teacher's that would make them smaller.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cluster.models import resolve
from pipelines.core import parts
from pipelines.core.chat import ChatTokenizer
from pipelines.core.hashing import key_of
from pipelines.core.records import Answer, Completion, SoftTargets, TrainExample
from pipelines.core.signals import pack
from pipelines.core.storage import Folder
from pipelines.generate.asking import FLUSH_ROWS

ROOT = Path(__file__).parents[1]
TOKENIZER = "embedded:smollm2-135m-instruct"
LENGTHS = (100, 400)  # tokens of an answer
PROMPT, ROWS, K = 100, 256, 64
VOCABULARY = 128_256  # Llama 3's; ids of more than 65,536 take three bytes


@dataclass(frozen=True)
class Row:
    """A prompt and its answer."""

    id: str
    prompt: str
    text: str
    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]


def main() -> None:
    short, long = LENGTHS
    print("| record | rows per file | bytes | and per token of the answer |")
    print("|---|---:|---:|---:|")
    rows = {length: list(_rows(length)) for length in LENGTHS}
    for kind, per_file, make in KINDS:
        sizes = [_stored([make(row) for row in rows[length]], kind, per_file) / ROWS for length in LENGTHS]
        per_token = (sizes[1] - sizes[0]) / (long - short)
        print(f"| {kind.__name__} | {per_file} | {sizes[0] - short * per_token:,.0f} | {per_token:,.1f} |")


def _rows(length: int) -> Iterator[Row]:
    """Cut one after the other, so that no row repeats another's text."""
    tokenizer = ChatTokenizer(str(resolve(TOKENIZER, "TOKENIZER").folder()))
    files = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("pipelines/**/*.py"))]
    ids = tokenizer.encode("".join(file.read_text() for file in files))
    assert len(ids) >= ROWS * (PROMPT + length), f"{len(ids):,} tokens are too few"
    for start in range(0, ROWS * (PROMPT + length), PROMPT + length):
        asked, said = ids[start : start + PROMPT], ids[start + PROMPT : start + PROMPT + length]
        yield Row(key_of(start), tokenizer.decode(asked), tokenizer.decode(said), tuple(asked), tuple(said))


def _completion(row: Row) -> Completion:
    return Completion(row.id, "a" * 16, row.prompt, row.text, row.ids, "stop", PROMPT, len(row.ids))


def _answer(row: Row) -> Answer:
    return Answer(key_of("answer", row.id), key_of("task", row.id), row.id, row.prompt, row.text, "stop")


def _example(row: Row) -> TrainExample:
    ids, weights = row.prompt_ids + row.ids, (0.0,) * PROMPT + (1.0,) * len(row.ids)
    return TrainExample(
        key_of("example", row.id), key_of("answer", row.id), key_of("task", row.id), "answer", ids, weights
    )


def _signal(row: Row) -> SoftTargets:
    size = len(row.ids)
    chance = np.random.default_rng(int(row.id, 16))
    ids_pk = chance.integers(0, VOCABULARY, (size, K))
    logprobs_pk = -np.sort(chance.exponential(4.0, (size, K)), axis=1)
    positions = tuple(range(PROMPT, PROMPT + size))
    return pack(key_of("signal", row.id), key_of("example", row.id), positions, ids_pk, logprobs_pk)


KINDS: Sequence[tuple[type, int, Callable[[Row], Any]]] = (
    (Completion, FLUSH_ROWS, _completion),
    (Answer, parts.PART_ROWS, _answer),
    (TrainExample, parts.PART_ROWS, _example),
    (SoftTargets, FLUSH_ROWS, _signal),
    (SoftTargets, parts.PART_ROWS, _signal),
)


def _stored(records: Sequence[Any], kind: type, per_file: int) -> int:
    with tempfile.TemporaryDirectory() as home:
        for number in range(0, len(records), per_file):
            Folder(home).write_records(f"part-{number}.parquet", list(records[number : number + per_file]), kind)
        return Folder(home).size()


if __name__ == "__main__":
    main()
