"""How many recorded rationales each filter has something against, each filter alone. Prints Markdown; starts no engine.

    .venv/bin/python benchmarks/rationale_filters.py FOLDER...

A FOLDER is one of TinyLLM's release (arXiv 2402.04616): NAME_train.json and `llm/`, with what FLAN-T5 xl and LLaMA-2 7B
said of each training question. The second of a pair of lines is of the same rationales trimmed, which are fewer where
nothing is left; the last column is what passes all filters.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipelines.core.config import RATIONALE_FILTERS, Questions, Released
from pipelines.core.records import Question, Rationale
from pipelines.generate.questions import drawn
from pipelines.generate.rationale_filters import KNOWN, trimmed
from pipelines.generate.released_rationales import read

MIN_WORDS = 5  # as recipes have it
TEACHERS = (Released(kind="released", of="flan-t5"), Released(kind="released", of="llama-2"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    print(
        f"| rationales | read | {' | '.join(RATIONALE_FILTERS)} | kept |\n|---|{'---:|' * (len(RATIONALE_FILTERS) + 2)}"
    )
    for folder in parser.parse_args().folders:
        parts, _ = drawn(Questions(path=str(folder)), 1)
        for teacher in TEACHERS:
            found = read(teacher, teacher.of, folder / "llm", parts["train"]).texts
            pairs = [
                (question, _made(question, found[question.id])) for question in parts["train"] if found.get(question.id)
            ]
            short = [(question, cut) for question, rationale in pairs if (cut := trimmed(rationale)).text]
            for told, rows in (("", pairs), (", trimmed", short)):
                print(f"| {folder.name}, {teacher.of}{told} | {len(rows):,} | {_counts(rows)} |", flush=True)


def _made(question: Question, text: str) -> Rationale:
    return Rationale("", question.id, "", text, "", "stop")


def _counts(rows: Sequence[tuple[Question, Rationale]]) -> str:
    against = [
        [KNOWN[name](rationale, question, MIN_WORDS) for name in RATIONALE_FILTERS] for question, rationale in rows
    ]
    kept = sum(not any(faults) for faults in against)
    return " | ".join(f"{count:,}" for count in (*map(sum, zip(*against, strict=True)), kept))


if __name__ == "__main__":
    main()
