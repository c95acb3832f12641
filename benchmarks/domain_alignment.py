"""Domain alignment (arXiv 2406.19112) with a domain expert made here: what the domain gains and what all else loses.

    .venv/bin/python benchmarks/domain_alignment.py ITEMS.jsonl ROWS.json [--rows 200] [--held-out 60] [--seeds 1 2 3]
        [--expert-rows 600] [--runs runs/domain] [--keep benchmarks/measured/domain]

ITEMS are multiple-choice questions, {question, choices, answer} on each line: the domain. ROWS are Alpaca's: all else.
The expert is the embedded teacher tuned on the first `--expert-rows` items (recipe `sft`); the arms share none of them.
Both arms are the recipe `dae`, and their student the teacher without one layer: in "KD" the reference, the teacher as
it is, gives every row's distributions; in "DAE" the expert gives those of the domain's rows. It can be stopped and goes
on: every run lies in `--runs`, and what was measured in `--keep`, for another day or machine.

The first table has held-out losses in nats per token, mean over the seeds; the second each arm's gain over its
untrained student and DAE's over KD, paired by row, with a 95 % bootstrap interval over rows and the smallest difference
that so many rows would show four times in five.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kept import kept
from paired import Rows, difference, over_seeds

from pipelines.core.parts import rows_of
from pipelines.core.recipe import AnyRecipe
from pipelines.core.records import HeldOutLoss
from pipelines.core.stage import Done
from pipelines.runs import api
from pipelines.train.held_out_loss import AFTER, BEFORE
from pipelines.train.student import model_of

SOURCES = ("domain", "general")
ARMS = {"KD": "reference", "DAE": "expert"}  # -> who gives the domain's distributions


@dataclass(frozen=True)
class Seen:
    """One arm with one seed."""

    losses: Mapping[str, Mapping[str, Rows]]  # source -> model -> its held-out rows


def main() -> None:
    args = _arguments()
    mine, theirs = _domain_files(args)
    settings = {
        "items": args.items.name, "rows": args.rows, "held_out": args.held_out, "expert_rows": args.expert_rows,
        "remove": args.remove, "learning_rate": args.learning_rate,
    }  # fmt: skip
    seen = {
        arm: [
            kept(args.keep, arm, seed, settings, Seen, partial(_seen, args, mine, theirs, arm, seed))
            for seed in args.seeds
        ]
        for arm in ARMS
    }
    print("\n| source | arm | before | after | reference | expert |\n|---|---|---:|---:|---:|---:|")
    for source in SOURCES:
        for arm, runs in seen.items():
            models = (BEFORE, AFTER, "teacher reference", "teacher expert")
            told = [_over_runs(runs, source, model) for model in models]
            print(f"| {source} | {arm} | {' | '.join(told)} |")
    print("\n| source | compared | difference | 95 % interval | smallest that shows |\n|---|---|---:|---:|---:|")
    for source in SOURCES:
        after = {arm: [run.losses[source][AFTER] for run in runs] for arm, runs in seen.items()}
        for arm, runs in seen.items():
            before = [run.losses[source][BEFORE] for run in runs]
            print(f"| {source} | {arm} to before | {difference(after[arm], before)} |")
        print(f"| {source} | DAE to KD | {difference(after['DAE'], after['KD'])} |")


def _domain_files(args: argparse.Namespace) -> tuple[Path, Path]:
    """(the expert's rows, those of the arms), in Alpaca's shape."""
    items = [json.loads(line) for line in args.items.read_text(encoding="utf-8").splitlines()]
    need = args.expert_rows + args.rows + args.held_out
    if len(items) < need:
        raise SystemExit(f"{args.items} has {len(items)} items, and {need} are needed")
    folder = Path(args.runs)
    folder.mkdir(parents=True, exist_ok=True)
    cut = args.expert_rows
    return _written(folder / "expert.json", items[:cut]), _written(folder / "arms.json", items[cut:need])


def _written(file: Path, items: Sequence[dict[str, str]]) -> Path:
    rows = []
    for item in items:
        choices = "\n".join(f"({letter}) {text}" for letter, text in zip("abcdefgh", item["choices"], strict=False))
        rows.append({"instruction": item["question"], "input": choices, "output": item["answer"]})
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def _expert(args: argparse.Namespace, rows: Path) -> AnyRecipe:
    return api.load("sft", [
        f"data.sources={{domain: {{path: {rows}, format: alpaca}}}}", f"data.held_out={args.held_out}",
        "student.init={kind: model, model: embedded:smollm2-135m-instruct}",
    ])  # fmt: skip


def _seen(args: argparse.Namespace, experts: Path, rows: Path, arm: str, seed: int) -> Seen:
    expert = model_of(_done(_expert(args, experts), args)["student"])
    limit = args.rows + args.held_out
    recipe = api.load("dae", [
        f"seed={seed}", f"teachers.expert.model={expert}", f"data.held_out={args.held_out}",
        f"data.sources={{domain: {{path: {rows}, format: alpaca}}, "
        f"general: {{path: {args.general}, format: alpaca, limit: {limit}}}}}",
        f"student.signals={{domain: {ARMS[arm]}, general: reference}}",
        f"student.init={{kind: pruned, teacher: reference, remove: [{args.remove}]}}",
        f"student.train.learning_rate={args.learning_rate}",
    ])  # fmt: skip
    print(f"{arm}, seed {seed}", flush=True)
    found: dict[str, dict[str, dict[str, tuple[float, int]]]] = {}
    for row in rows_of(_done(recipe, args)["held_out_loss"].folder, HeldOutLoss):
        found.setdefault(row.source, {}).setdefault(row.model, {})[row.example_id] = (row.nll, row.tokens)
    return Seen(found)


def _done(recipe: AnyRecipe, args: argparse.Namespace) -> dict[str, Done]:
    return {finished.stage.name: finished.done for finished in api.run(recipe, args.runs).stages}


def _over_runs(runs: Sequence[Seen], source: str, model: str) -> str:
    """Where a model took part in every run: nats per token."""
    found = [run.losses[source].get(model) for run in runs]
    means = [sum(n for n, _ in rows.values()) / sum(t for _, t in rows.values()) for rows in found if rows]
    return over_seeds(means) if len(means) == len(runs) else "-"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=Path)
    parser.add_argument("general")
    parser.add_argument("--rows", type=int, default=200, help="of each source to train on")
    parser.add_argument("--held-out", type=int, default=60, help="of each source")
    parser.add_argument("--expert-rows", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--remove", type=int, default=17, help="the layer that the student lacks")
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--runs", default="runs/domain")
    parser.add_argument("--keep", help="a folder of what was measured; nothing is kept without it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
