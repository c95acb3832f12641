"""What teachers' rationales are worth to a student at the same questions and steps: accuracy by arm. Prints Markdown.

    .venv/bin/python benchmarks/rationales.py FOLDER [--questions 300] [--test 400] [--seeds 1 2 3] [--arms ...]
        [--runs runs/rationales] [--keep benchmarks/measured/rationales-arc]

FOLDER is one of TinyLLM's release (NAME_train.json, NAME_test.json, `llm/`). Each arm is the shipped recipe
`tinyllm-released` with other rationales; questions, their order and the number of steps are the same in one seed. It is
one command that can be stopped and goes on: every run lies in `--runs`, and what was measured in `--keep`, for another
day or machine.

First stands the smallest difference that so many questions can show four times in five if the arms' answers have
nothing to do with each other; paired by question, as they are compared, smaller ones show. The first table has the
shares of right answers, mean over the seeds with its standard deviation; the second each arm's difference to answers
alone, paired by question, with a 95 % bootstrap interval over questions and the smallest difference that these would
show; the third how many rationales each filter drops.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kept import kept
from paired import Rows, difference, over_seeds

from pipelines.core.parts import rows_of
from pipelines.core.records import ChoiceAnswer
from pipelines.runs import api

BOTH = {
    "flan-t5": {"kind": "released", "of": "flan-t5", "prefix": "explain: "},
    "llama-2": {"kind": "released", "of": "llama-2", "prefix": "rationale: "},
}
AS_THEY_ARE = {"filters": [], "trim": False}
ARMS: Mapping[str, Mapping[str, Any]] = {
    "answers alone": {"sources": {}},
    "FLAN-T5, as it is": {"sources": {"flan-t5": BOTH["flan-t5"]}, **AS_THEY_ARE},
    "both, as they are": {"sources": BOTH, **AS_THEY_ARE},
    "both, filtered": {"sources": BOTH, "trim": True},
    "the best by agreement": {"sources": BOTH, "trim": True, "select": {"by": "agreement"}},
}
ZERO_SHOT = "zero-shot"
WAYS: Mapping[str, Callable[[ChoiceAnswer], bool]] = {
    "likeliest": lambda row: row.likeliest == row.answer,
    "written": lambda row: row.written == row.answer,
}


@dataclass(frozen=True)
class Seen:
    """One arm with one seed: whether each question was answered rightly, by way of answering; what was trained on."""

    right: Mapping[str, Rows]
    before: Mapping[str, Rows]
    tokens: int
    majority: float
    filtered: Mapping[str, Any]  # source -> counts


def main() -> None:
    args = _arguments()
    chance = 2.8 * (2 * 0.3 * 0.7 / (args.test * len(args.seeds))) ** 0.5
    print(f"{args.test} questions and {len(args.seeds)} seeds: {chance:.1%} at 30 % right, unpaired\n", flush=True)
    settings = {"data": Path(args.data).name, "questions": args.questions, "test": args.test}
    seen = {
        arm: [kept(args.keep, arm, seed, settings, Seen, partial(_ran, args, arm, seed)) for seed in args.seeds]
        for arm in args.arms
    }
    first = next(iter(seen.values()))
    print("\n| arm | accuracy, likeliest | accuracy, written | tokens |\n|---|---:|---:|---:|")
    print(f"| commonest answer | {over_seeds([run.majority for run in first])} | - | - |")
    print(f"| {ZERO_SHOT} | {_shares([run.before for run in first])} | - |")
    for arm, runs in seen.items():
        print(f"| {arm} | {_shares([run.right for run in runs])} | {runs[0].tokens:,} |")
    print("\n| arm | way | to answers alone | 95 % interval | smallest that shows |\n|---|---|---:|---:|---:|")
    compared = {ZERO_SHOT: [run.before for run in first]} | {arm: [run.right for run in seen[arm]] for arm in seen}
    for arm, rights in compared.items():
        for way in WAYS if rights[0] is not first[0].right else ():
            told = difference([right[way] for right in rights], [run.right[way] for run in first])
            print(f"| {arm} | {way} | {told} |")
    print("\n| arm | source | read | kept | trimmed | dropped |\n|---|---|---:|---:|---:|---|")
    for arm, runs in seen.items():
        for source, told in runs[0].filtered.items():
            reasons = ", ".join(f"{reason} {count}" for reason, count in told["dropped"].items())
            print(f"| {arm} | {source} | {told['read']} | {told['kept']} | {told['trimmed']} | {reasons or '-'} |")


def _ran(args: argparse.Namespace, arm: str, seed: int) -> Seen:
    recipe = api.load("tinyllm-released", [
        f"seed={seed}", f"data={{path: {args.data}, limit: {args.questions}, test_limit: {args.test}}}",
        f"rationales={dict(ARMS[arm])}",
    ])  # fmt: skip
    print(f"{arm}, seed {seed}", flush=True)
    done = {finished.stage.name: finished.done for finished in api.run(recipe, args.runs).stages}
    asked, trained = done["accuracy"], done["student"].manifest["facts"]
    explained = done["rationales"].manifest["facts"]["sources"] if "rationales" in done else {}
    return Seen(
        _right(asked),
        _right(done["accuracy_before"]),
        trained["tokens"],
        asked.manifest["facts"]["majority"],
        explained,
    )


def _right(asked: Any) -> dict[str, Rows]:
    rows = list(rows_of(asked.folder, ChoiceAnswer))
    return {way: {row.question_id: (float(is_right(row)), 1) for row in rows} for way, is_right in WAYS.items()}


def _shares(runs: list[Mapping[str, Rows]]) -> str:
    means = {way: [sum(right for right, _ in run[way].values()) / len(run[way]) for run in runs] for way in WAYS}
    return " | ".join(over_seeds(means[way]) for way in WAYS)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--questions", type=int, default=300, help="to learn from")
    parser.add_argument("--test", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--runs", default="runs/rationales")
    parser.add_argument("--keep", help="a folder of what was measured; nothing is kept without it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
