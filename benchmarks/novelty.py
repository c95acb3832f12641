"""Seconds to keep the new rows of a set: the pool, a loop over all pairs, and the original's. Prints Markdown tables.

    .venv/bin/python benchmarks/novelty.py ROWS.json [MORE.jsonl ...] [--threshold 0.7] [--all-pairs-to 10000]
        [--sizes 1000 ...] [--write FOLDER]

The files hold `instruction` or `messages` (the first is taken), as a JSON list or JSON lines. Larger sets are made of
their words, seeded: a first-order Markov chain over the given prompts writes texts of their lengths and with their word
frequencies ("new": nearly all are kept), and a second set repeats a quarter as many such texts, each time with up to
an eighth of its words replaced by words drawn from the prompts ("repeated": about a quarter is kept).

"All pairs" is rapidfuzz's `extractOne` over the kept texts' words, in C++; "original" is `rouge_score` in Python, as
Self-Instruct has it, to 1,000 rows, where that package is installed (it is no dependency of ours). Every way must keep
as many rows. Memory is what tracemalloc counts, without the texts. With `--write` nothing is measured: the sets become
JSON lines in a folder, for `tutelage dedupe`.
"""

import argparse
import importlib.util
import json
import random
import time
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from rapidfuzz import process
from rapidfuzz.distance import Indel

from pipelines.generate.novelty import Pool
from pipelines.generate.rouge import tokens

SIZES = (1_000, 10_000, 50_000, 200_000)
ORIGINAL_TO = 1_000
Way = Callable[[list[str], float], list[str]]


def prompts(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8")
    rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines()]
    return [row["instruction"] if "instruction" in row else row["messages"][0]["content"] for row in rows]


class Chain:
    """Texts of the given ones' words: each word follows the one before as often as it does there."""

    def __init__(self, texts: list[str]) -> None:
        self._chance = random.Random(17)
        parts = [words for text in texts if (words := text.split())]
        self._lengths = [len(words) for words in parts]
        self._starts = [words[0] for words in parts]
        self._words = [word for words in parts for word in words]
        self._next: dict[str, list[str]] = {}
        for words in parts:
            for word, following in pairwise(words):
                self._next.setdefault(word, []).append(following)

    def new(self, rows: int) -> list[str]:
        return [self._text() for _ in range(rows)]

    def repeated(self, rows: int) -> list[str]:
        base = self.new(rows // 4)
        return [self._perturbed(self._chance.choice(base)) for _ in range(rows)]

    def _text(self) -> str:
        words = [self._chance.choice(self._starts)]
        for _ in range(self._chance.choice(self._lengths) - 1):
            words.append(self._chance.choice(self._next.get(words[-1], self._words)))
        return " ".join(words)

    def _perturbed(self, text: str) -> str:
        words = text.split()
        for _ in range(self._chance.randint(0, max(1, len(words) // 8))):
            words[self._chance.randrange(len(words))] = self._chance.choice(self._words)
        return " ".join(words)


def with_pool(texts: list[str], threshold: float) -> list[str]:
    pool, kept = Pool(threshold), []
    for text in texts:
        if pool.nearest(text) is None:
            pool.add(text)
            kept.append(text)
    return kept


def with_all_pairs(texts: list[str], threshold: float) -> list[str]:
    kept: dict[str, list[str]] = {}
    for text in texts:
        words, others = tokens(text), list(kept.values())
        found = process.extractOne(words, others, scorer=Indel.normalized_similarity, score_cutoff=threshold)
        if text not in kept and (found is None or found[1] <= threshold):
            kept[text] = words
    return list(kept)


def with_original(texts: list[str], threshold: float) -> list[str]:
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    kept: list[str] = []
    for text in texts:
        if max((scorer.score(text, other)["rougeL"].fmeasure for other in kept), default=0) <= threshold:
            kept.append(text)
    return kept


def measure(texts: list[str], threshold: float, ways: list[Way | None]) -> str:
    """Cells of one row: kept, then seconds each way."""
    kept: list[str] = []
    cells = []
    for way in ways:
        if way is None:
            cells.append("-")
            continue
        began = time.monotonic()
        found = way(texts, threshold)
        cells.append(f"{time.monotonic() - began:.2f}")
        kept = kept or found
        # The original's tokens are others outside a-z and 0-9, so its count may differ; it is shown, not checked.
        assert found == kept or way is with_original, way.__name__
    return f"{len(kept):,} | {' | '.join(cells)}"


def bytes_per_row(texts: list[str], threshold: float) -> float:
    kept = with_pool(texts, threshold)
    tracemalloc.start()
    pool = Pool(threshold)
    for text in kept:
        pool.add(text)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / len(kept)


def write(folder: Path, sets: list[tuple[str, list[str]]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, texts in sets:
        lines = (json.dumps({"instruction": text}, ensure_ascii=False) + "\n" for text in texts)
        with (folder / f"{name}-{len(texts)}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--threshold", type=float, default=0.7)
    parser.add_argument("--all-pairs-to", type=int, default=10_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    given = [prompt for file in options.files for prompt in prompts(file)]
    chain = Chain(given)
    has_original = importlib.util.find_spec("rouge_score") is not None
    sets = [("given", given)]
    sets += [(how, make(n)) for n in options.sizes for how, make in (("repeated", chain.repeated), ("new", chain.new))]
    if options.write:
        write(options.write, sets)
        return
    print("| set | rows | kept | pool | all pairs | original |\n|---|---|---|---|---|---|")
    for name, texts in sets:
        ways: list[Way | None] = [
            with_pool,
            with_all_pairs if len(texts) <= options.all_pairs_to else None,
            with_original if has_original and len(texts) <= ORIGINAL_TO else None,
        ]
        print(f"| {name} | {len(texts):,} | {measure(texts, options.threshold, ways)} |", flush=True)
    print("\n| set | rows | bytes per kept row |\n|---|---|---|")
    for name, texts in sets[:5]:
        print(f"| {name} | {len(texts):,} | {bytes_per_row(texts, options.threshold):.0f} |")


if __name__ == "__main__":
    main()
