"""Whether what a probe says of rows is borne out: students of those it likes best, of the others, of rows at random.

    .venv/bin/python benchmarks/influence_retraining.py ROWS.json [--warm 64] [--candidates 160] [--take 48]
        [--reference 48] [--held-out 80] [--seeds 1 2 3] [--runs runs/retraining]

ROWS are Alpaca's. A student warms up on some of them (recipe `sft`) and is probed with the candidates, every other one
of which has been given another one's answer: a row that should not help. Then students are trained from the same
start on `--take` candidates each: those with the highest influence, the lowest, the highest loss, the highest
instruction-following difficulty (IFD, arXiv 2308.12032), and at random; with as many orders of them as there are
seeds. It can be stopped and goes on: every run lies in `--runs`.

The first table has for each score how well it tells rows with their own answer from the others (area under the ROC
curve: 0.5 is chance) and what share of the rows it takes are the former; the second each subset's held-out loss in nats
per token, mean over the seeds, and its difference to the rows at random, paired by held-out row, with a 95 % bootstrap
interval over rows and the smallest difference that so many rows would show four times in five.
"""

import argparse
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from paired import Rows, difference, over_seeds

from cluster.session import session
from pipelines.core.chat import ChatTokenizer
from pipelines.core.progress import Progress
from pipelines.core.records import Conversation, Dropped, Influence, TrainExample
from pipelines.core.stage import Done
from pipelines.influence import baselines
from pipelines.influence.agreement import ranks
from pipelines.influence.encoder import Encoder
from pipelines.influence.probe import Probe
from pipelines.influence.reference import Reference
from pipelines.influence.state import Warm
from pipelines.runs import api
from pipelines.train import held_out_loss
from pipelines.train.student import model_of

MODEL = "embedded:smollm2-135m-instruct"
MAX_LENGTH = 384
Row = dict[str, str]


@dataclass(frozen=True)
class Candidate:
    """A row, its example, and whether its answer is its own."""

    row: Row
    example: TrainExample
    is_own: bool


def main() -> None:
    args = _arguments()
    warm_rows, reference, held_out, offered = _parts(args)
    warmed = _trained(args, "warm", warm_rows, 1, "student.train.warm=true", "student.train.schedule=ramp")
    encoder = Encoder(ChatTokenizer(str(model_of(warmed["student"]))), MAX_LENGTH)
    candidates = _candidates(offered, encoder)
    scores = _scores(warmed["student"], _encoded(reference, encoder), candidates)
    print(f"{len(candidates)} candidates, {sum(c.is_own for c in candidates)} with their own answer\n")
    print("| score | tells own answers | own answers among those taken |\n|---|---:|---:|")
    subsets: dict[str, list[Candidate]] = {}
    for name, values in scores.items():
        best = sorted(range(len(candidates)), key=lambda n, values=values: -values[n])
        subsets[name] = [candidates[n] for n in best[: args.take]]
        print(f"| {name} | {_auc(values, candidates):.3f} | {_share(subsets[name]):.0%} |")
    compared = {name: subsets[name] for name in scores if name != "lowest influence"}
    compared["lowest influence"] = subsets["lowest influence"]
    found = {name: [_losses(args, name, rows, seed, held_out, encoder) for seed in args.seeds]
             for name, rows in compared.items()}  # fmt: skip
    print(
        "\n| trained on | nats per token | to random | 95 % interval | smallest that shows |\n|---|---:|---:|---:|---:|"
    )
    for name, rows in found.items():
        means = [sum(n for n, _ in each.values()) / sum(t for _, t in each.values()) for each in rows]
        told = difference(rows, found["random"]) if name != "random" else "- | - | -"
        print(f"| {name} | {over_seeds(means)} | {told} |")


def _parts(args: argparse.Namespace) -> tuple[list[Row], list[Row], list[Row], list[Row]]:
    """(to warm up on, reference, held out, candidates): rows with another prompt each, in an order of their own."""
    rows = {row["instruction"] + row["input"]: row for row in json.loads(Path(args.data).read_text(encoding="utf-8"))}
    fit = [row for row in rows.values() if row["output"].strip() and len(row["output"]) < 600]
    random.Random("parts").shuffle(fit)
    sizes = (args.warm, args.reference, args.held_out, args.candidates)
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    return tuple(fit[start : start + size] for start, size in zip(starts, sizes, strict=True))  # type: ignore[return-value]


def _candidates(rows: Sequence[Row], encoder: Encoder) -> list[Candidate]:
    """Every other one with the answer of the one two places on."""
    found = []
    for n, row in enumerate(rows):
        own = n % 2 == 0
        said = row if own else {**row, "output": rows[(n + 2) % len(rows)]["output"]}
        made = _encoded([said], encoder)
        found += [Candidate(said, example, own) for example in made]
    return found


def _encoded(rows: Sequence[Row], encoder: Encoder) -> list[TrainExample]:
    made = [encoder(_conversation(row)) for row in rows]
    return [example for example in made if not isinstance(example, Dropped)]


def _conversation(row: Row) -> Conversation:
    turns = (row["instruction"], row["output"])
    return Conversation(Conversation.make_id("", turns, row["input"]), "", turns, row["input"], "{}")


def _scores(student: Done, reference: list[TrainExample], rows: Sequence[Candidate]) -> Mapping[str, list[float]]:
    """Each way's score of each candidate; the higher, the sooner it is taken."""
    warm = Warm.read(student.folder.local_path())
    probe = Probe(warm, Reference(reference, "global_token"))

    def influence(example: TrainExample) -> float:
        found = probe.first_order(example)
        assert isinstance(found, Influence), found
        return found.influence

    told = [influence(candidate.example) for candidate in rows]
    ways: Mapping[str, Callable[[TrainExample], float]] = {
        "highest loss": lambda e: baselines.loss(warm.model, e),
        "highest IFD": lambda e: baselines.difficulty(warm.model, e),
        "random": lambda e: baselines.chance(e, 1),
    }
    others = {name: [way(candidate.example) for candidate in rows] for name, way in ways.items()}
    return {"highest influence": told, "lowest influence": [-each for each in told], **others}


def _auc(scores: Sequence[float], rows: Sequence[Candidate]) -> float:
    """The probability that a row with its own answer scores above one without (Mann-Whitney)."""
    of_R = ranks(torch.tensor(scores, dtype=torch.float64).numpy())
    own = [float(rank) for rank, row in zip(of_R, rows, strict=True) if row.is_own]
    return (sum(own) - len(own) * (len(own) + 1) / 2) / (len(own) * (len(rows) - len(own)))


def _share(rows: Sequence[Candidate]) -> float:
    return sum(row.is_own for row in rows) / len(rows)


def _losses(
    args: argparse.Namespace, name: str, rows: Sequence[Candidate], seed: int, held_out: Sequence[Row], encoder: Encoder
) -> Rows:
    """The held-out rows' losses under a student of these rows."""
    trained = _trained(args, name, [candidate.row for candidate in rows], seed)
    examples = _encoded(held_out, encoder)
    with session() as live:
        measured = held_out_loss.in_a_worker(model_of(trained["student"]), examples, live, Progress())
    return {example.id: found for example, found in zip(examples, measured, strict=True)}


def _trained(args: argparse.Namespace, name: str, rows: Sequence[Row], seed: int, *sets: str) -> dict[str, Done]:
    """A student of these rows. Two of them are held out by the recipe, as it asks for."""
    file = Path(args.runs) / f"{name.replace(' ', '-')}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(list(rows)), encoding="utf-8")
    recipe = api.load("sft", [
        f"seed={seed}", f"data.sources={{main: {{path: {file}, format: alpaca}}}}", "data.held_out=2",
        f"student.init={{kind: model, model: '{MODEL}'}}", f"student.train.max_length={MAX_LENGTH}",
        "student.train.examples_per_step=4", f"student.train.learning_rate={args.learning_rate}",
        "student.train.zero_stage=0", *sets,
    ])  # fmt: skip
    print(f"{name}, seed {seed}", flush=True)
    return {finished.stage.name: finished.done for finished in api.run(recipe, args.runs).stages}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--warm", type=int, default=64, help="rows to warm up on")
    parser.add_argument("--candidates", type=int, default=160)
    parser.add_argument("--take", type=int, default=48, help="candidates that a student is trained on")
    parser.add_argument("--reference", type=int, default=48)
    parser.add_argument("--held-out", type=int, default=80)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    parser.add_argument("--runs", default="runs/retraining")
    return parser.parse_args()


if __name__ == "__main__":
    main()
