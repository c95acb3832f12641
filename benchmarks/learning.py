"""What each way of learning is worth at the same budget: held-out loss by arm, over seeds. Prints Markdown tables.

    .venv/bin/python benchmarks/learning.py ROWS.json [--from alpaca] [--rows 300] [--held-out 100] [--seeds 1 2 3]
        [--arms SFT IM KD "KD+CE"] [--runs runs/learning] [--keep benchmarks/measured/learning-alpaca]

Each arm is the shipped recipe `kd` with other losses: the same rows, order of steps, number of steps and held-out rows
in one seed, and a student that starts as the teacher without one layer (`--remove`). It is one command that can be
stopped and goes on: every run lies in `--runs`, and what was measured in `--keep`, for another day or machine. Losses
are nats per token of the held-out answers.

The first table has each arm's loss, mean over the seeds with its standard deviation; the second each arm's difference
to the first one, paired by held-out row, with a 95 % bootstrap interval over rows, and the smallest difference that so
many rows would show four times in five (2.8 standard errors).
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

from kept import kept
from paired import Rows, difference, over_seeds

from pipelines.core.parts import rows_of
from pipelines.core.records import HeldOutLoss, TrainExample
from pipelines.core.stage import Done
from pipelines.runs import api
from pipelines.train.held_out_loss import AFTER, BEFORE, mean_by_model

TEACHER = "teacher main"
ARMS: Mapping[str, Sequence[str]] = {
    "SFT": ["student.train.losses={answer: 1.0}"],
    "IM": ["student.train.losses={answer: 1.0}", "student.learn={method: im}"],
    "KD": ["student.train.losses={kd: 1.0}"],
    "KD+CE": ["student.train.losses={answer: 0.3, kd: 1.0}"],
}


@dataclass(frozen=True)
class Seen:
    """One arm with one seed."""

    losses: Mapping[str, float]  # nats per token by model
    rows: Rows  # the student's
    tokens: int  # trained on
    steps: int
    ratio: float  # instruction tokens to answer tokens


def main() -> None:
    args = _arguments()
    settings = {"data": Path(args.data).name, "rows": args.rows, "held_out": args.held_out, "remove": args.remove}
    seen = {
        arm: [kept(args.keep, arm, seed, settings, Seen, partial(_ran, args, arm, seed)) for seed in args.seeds]
        for arm in args.arms
    }
    print("\n| arm | before | after | teacher | tokens | steps | instruction : answer |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for arm, runs in seen.items():
        told = [over_seeds([run.losses[model] for run in runs]) for model in (BEFORE, AFTER, TEACHER)]
        ratio = fmean(run.ratio for run in runs)
        print(f"| {arm} | {' | '.join(told)} | {runs[0].tokens:,} | {runs[0].steps} | {ratio:.2f} |")
    first = args.arms[0]
    print(f"\n| arm | to {first} | 95 % interval | smallest that shows |\n|---|---:|---:|---:|")
    for arm in args.arms[1:]:
        print(f"| {arm} | {difference([r.rows for r in seen[arm]], [r.rows for r in seen[first]])} |")


def _ran(args: argparse.Namespace, arm: str, seed: int) -> Seen:
    recipe = api.load("kd", [
        f"seed={seed}", f"data.held_out={args.held_out}",
        f"data.sources={{main: {{path: {args.data}, format: {args.format}, limit: {args.rows + args.held_out}}}}}",
        f"student.init={{kind: pruned, teacher: main, remove: [{args.remove}]}}", *ARMS[arm],
    ])  # fmt: skip
    print(f"{arm}, seed {seed}", flush=True)
    done = {finished.stage.name: finished.done for finished in api.run(recipe, args.runs).stages}
    rows = list(rows_of(done["held_out_loss"].folder, HeldOutLoss))
    trained = done["student"].manifest["facts"]
    return Seen(
        mean_by_model(rows),
        {row.example_id: (row.nll, row.tokens) for row in rows if row.model == AFTER},
        trained["tokens"],
        trained["steps"],
        _ratio(done["held_out_examples"]),
    )


def _ratio(examples: Done) -> float:
    """Held-out rows weigh their answers alone, whatever the arm."""
    answers = others = 0
    for example in rows_of(examples.folder, TrainExample):
        weighted = sum(weight > 0 for weight in example.weights)
        answers, others = answers + weighted, others + len(example.token_ids) - weighted
    return others / answers


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--from", dest="format", default="alpaca")
    parser.add_argument("--rows", type=int, default=300, help="to train on")
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--remove", type=int, default=17, help="the layer that the student lacks")
    parser.add_argument("--runs", default="runs/learning")
    parser.add_argument("--keep", help="a folder of what was measured; nothing is kept without it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
