"""What probing one row costs, ours beside the original's procedure, in one run. Prints Markdown tables.

    .venv/bin/python benchmarks/influence_cost.py ROWS.json [--from alpaca] [--reference 256] [--rows 48]
        [--exact-rows 12] [--original-rows 2] [--pad-to 1024]            # half an hour on two cores

The same student (the embedded model after `--warm-up` steps), reference rows and probed rows for all, in fp32:

- the original (arXiv 2410.14208, released code): for every row weights and moments are read from disk again, one AdamW
  step is made, and the whole reference set goes through the model in padded batches of 8. It pads to 1,024 tokens; here
  to the longest row of the set, which is kinder to it, unless `--pad-to` says otherwise
- `exact`, `first_order` and `sampled`, as `tutelage probe` has them
- first_order with its step and product made block by block in the cores' caches, which changes nothing but the sums'
  order; and the same for some of the weights only: those of the layers, those of every fourth layer

The slow ones are timed over fewer rows. `once` is what there is to do before the first row: `exact` measures the
reference four times (before, its noise, after the null step), the estimates need that and the slope after it. Agreement
is with `exact`, over the rows that both have. The second table grows the reference set.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import torch
from influence_student import Sloped, Student, examples, layer_of, mean_nats, warm_up
from safetensors.torch import load_file
from torch import Tensor

from cluster.models import resolve
from pipelines.core.records import Dropped, Influence, TrainExample
from pipelines.influence.agreement import agreement
from pipelines.influence.nats import gradient
from pipelines.influence.reference import Reference
from pipelines.influence.state import Gradients
from pipelines.train.attention import load
from pipelines.train.job import MODEL
from pipelines.train.keep import WARM, write_warm

ORIGINAL, EXACT, FIRST_ORDER, SAMPLED = "original", "exact", "first_order", "sampled"
BATCH = 8  # the original's
BLOCK = 2**17  # weights: five arrays of half a MiB
GROWTH_ROWS = {EXACT: 2, FIRST_ORDER: 8}
Way = Callable[[Sequence[TrainExample]], list[float]]


@dataclass(frozen=True)
class Seen:
    once: float
    seconds: float  # per row
    scores: Sequence[float]


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    folder = resolve(args.model, "--model").folder()
    drawn = examples(args.data, args.format, folder, args.tokens, args.seed)
    reference, rows = list(islice(drawn, args.reference)), list(islice(drawn, args.rows))
    steps = [list(islice(drawn, args.per_step)) for _ in range(args.warm_up)]
    student = warm_up(load(folder, torch.float32), steps, args.peak, (0.9, 0.999))
    longest, mean = max(len(row.token_ids) for row in reference), fmean(len(row.token_ids) for row in rows)
    print(
        f"{len(reference)} rows of reference, {_tokens(reference):,} tokens, the longest {longest}; probed rows of "
        f"{mean:.0f} tokens; {args.warm_up} steps of warm-up; {args.threads} threads\n"
    )
    with TemporaryDirectory() as stage:
        _write(student, Path(stage))
        seen = _methods(Ways(student, reference, Path(stage), args.pad_to or longest), rows, args)
    print("\n| reference rows | tokens | exact, seconds/row | first_order, seconds/row | its slope, once, s |")
    print("|---:|---:|---:|---:|---:|")
    for size in (*args.growth, len(reference)):
        each = seen if size == len(reference) else _grown(student, reference[:size], rows)
        exact, first, tokens = each[EXACT], each[FIRST_ORDER], _tokens(reference[:size])
        print(f"| {size} | {tokens:,} | {exact.seconds:.2f} | {first.seconds:.2f} | {first.once:.0f} |", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--from", dest="format", default="alpaca")
    parser.add_argument("--model", default="embedded:smollm2-135m-instruct")
    parser.add_argument("--reference", type=int, default=256, help="rows")
    parser.add_argument("--growth", type=int, nargs="*", default=[32, 64, 128], help="smaller reference sets")
    parser.add_argument("--rows", type=int, default=48, help="to probe")
    parser.add_argument("--exact-rows", type=int, default=12)
    parser.add_argument("--original-rows", type=int, default=2)
    parser.add_argument("--pad-to", type=int, help="tokens of a padded row, the original's; without it, the longest's")
    parser.add_argument("--tokens", type=int, default=160, help="longer rows are left out")
    parser.add_argument("--warm-up", type=int, default=20, help="steps")
    parser.add_argument("--per-step", type=int, default=8, help="rows of a warm-up step")
    parser.add_argument("--peak", type=float, default=5e-6, help="learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


def _tokens(rows: Sequence[TrainExample]) -> int:
    return sum(len(row.token_ids) for row in rows)


def _write(student: Student, stage: Path) -> None:
    """The student as its training's stage leaves it."""
    engine = SimpleNamespace(module=SimpleNamespace(student=student.model), optimizer=student.optimizer)
    write_warm(engine, stage / WARM, student.settings.steps_done, 0)
    student.model.save_pretrained(stage / MODEL)


def _methods(ways: "Ways", rows: Sequence[TrainExample], args: argparse.Namespace) -> Mapping[str, Seen]:
    """Every method timed, and told as it comes."""
    asked: list[tuple[str, Callable[[], Way], int]] = [
        (ORIGINAL, ways.original, args.original_rows),
        (EXACT, ways.exact, args.exact_rows),
        (FIRST_ORDER, ways.first_order, args.rows),
        (SAMPLED, ways.sampled, args.rows),
        ("in blocks", partial(ways.in_blocks, lambda name: True), args.rows),
        ("in blocks, layers only", partial(ways.in_blocks, lambda name: layer_of(name) >= 0), args.rows),
        ("in blocks, every fourth layer", partial(ways.in_blocks, lambda name: layer_of(name) % 4 == 3), args.rows),
    ]
    print("| method | rows | once, s | seconds/row | rows/core-hour | times as fast | Spearman | Pearson | same sign |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    seen: dict[str, Seen] = {}
    for name, make, count in asked:
        seen[name] = _timed(make, rows[:count])
        print(f"| {name} | {_cells(seen[name], seen, args.threads)} |", flush=True)
    return seen


def _cells(each: Seen, seen: Mapping[str, Seen], threads: int) -> str:
    exact = seen.get(EXACT, Seen(0, 0, ()))
    common = min(len(each.scores), len(exact.scores))
    told = "- | - | -"
    if common > 2 and each is not exact:
        found = agreement(each.scores[:common], exact.scores[:common])
        told = f"{found.spearman:.3f} | {found.pearson:.4f} | {found.same_sign:.0%}"
    rate, faster = 3600 / each.seconds / threads, seen[ORIGINAL].seconds / each.seconds
    return f"{len(each.scores)} | {each.once:.0f} | {each.seconds:.2f} | {rate:,.0f} | {faster:.1f} | {told}"


def _timed(make: Callable[[], Way], rows: Sequence[TrainExample]) -> Seen:
    began = time.monotonic()
    way = make()
    ready = time.monotonic()
    scores = way(rows)
    return Seen(ready - began, (time.monotonic() - ready) / len(rows), scores)


def _grown(student: Student, reference: Sequence[TrainExample], rows: Sequence[TrainExample]) -> Mapping[str, Seen]:
    ways = Ways(student, reference, Path(), 0)
    makes = {EXACT: ways.exact, FIRST_ORDER: ways.first_order}
    return {name: _timed(makes[name], rows[:count]) for name, count in GROWTH_ROWS.items()}


class Ways:
    """Of one student and one reference set: each makes ready, and returns what scores a row."""

    def __init__(self, student: Student, reference: Sequence[TrainExample], stage: Path, width: int) -> None:
        self.student, self._reference, self._stage, self._width = student, reference, stage, width

    @cached_property
    def _probe(self) -> Sloped:
        return Sloped(self.student.warm(), Reference(self._reference, "global_token"))

    def original(self) -> Way:
        return partial(_one_by_one, Original(self._stage, self._reference, self._width))

    def exact(self) -> Way:
        return partial(_one_by_one, partial(_influence, self._probe.exact))

    def first_order(self) -> Way:
        assert self._probe.slope  # made now
        return partial(_one_by_one, partial(_influence, self._probe.first_order))

    def in_blocks(self, takes: Callable[[str], bool]) -> Way:
        """For the weights of these names."""
        weights = dict(self.student.model.named_parameters())
        for name, weight in weights.items():
            weight.requires_grad_(takes(name))
        learning = {name: weight for name, weight in weights.items() if weight.requires_grad}
        rise = Rise(self.student, {name: self._moments(name) for name in learning})

        def influence(row: TrainExample) -> float:
            return rise.influence(gradient([mean_nats(self.student.model, [row])], learning))

        return partial(_one_by_one, influence)

    def sampled(self) -> Way:
        assert self._probe.slope
        return partial(_one_by_one, partial(_influence, self._probe.sampled))

    def _moments(self, name: str) -> list[Tensor]:
        return [self._probe.slope[name], self.student.first[name], self.student.second[name]]


def _one_by_one(influence: Callable[[TrainExample], float], rows: Sequence[TrainExample]) -> list[float]:
    return [influence(row) for row in rows]


def _influence(measure: Callable[[TrainExample], Influence | Dropped], row: TrainExample) -> float:
    found = measure(row)
    assert isinstance(found, Influence), found
    return found.influence


class Original:
    """One row after another as the released code has them: L_ref before, once, less L_ref after a step on the row."""

    def __init__(self, stage: Path, reference: Sequence[TrainExample], width: int) -> None:
        from transformers import AutoModelForCausalLM

        self._stage, self._width = stage, width
        self._model = AutoModelForCausalLM.from_pretrained(stage / MODEL, dtype=torch.float32)
        self._settings = json.loads((stage / WARM / "optimizer.json").read_text(encoding="utf-8"))
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(), self._settings["lr"], self._settings["betas"], self._settings["eps"],
            self._settings["weight_decay"], fused=True,
        )  # fmt: skip
        self._batches = [_padded(reference[at : at + BATCH], width) for at in range(0, len(reference), BATCH)]
        self._before = self._loss()

    def __call__(self, row: TrainExample) -> float:
        self._reload()
        self._model(**_padded([row], self._width)).loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        return self._before - self._loss()

    def _loss(self) -> float:
        """The mean over batches of their tokens' means."""
        with torch.no_grad():
            return fmean(float(self._model(**batch).loss) for batch in self._batches)

    def _reload(self) -> None:
        masters, first, second = (
            load_file(self._stage / WARM / f"{kind}.safetensors") for kind in ("masters", "exp_avg", "exp_avg_sq")
        )
        for name, parameter in self._model.named_parameters():
            parameter.data.copy_(masters[name])
            done = torch.tensor(float(self._settings["steps_done"]))
            self._optimizer.state[parameter] = {"step": done, "exp_avg": first[name], "exp_avg_sq": second[name]}


def _padded(rows: Sequence[TrainExample], width: int) -> dict[str, Tensor]:
    """A batch as transformers' trainers have it: padding on the right, and labels where tokens count."""
    batch = {
        "input_ids": torch.zeros(len(rows), width, dtype=torch.long),
        "attention_mask": torch.zeros(len(rows), width, dtype=torch.long),
        "labels": torch.full((len(rows), width), -100),
    }
    for n, row in enumerate(rows):
        ids = torch.tensor(row.token_ids)
        batch["input_ids"][n, : len(ids)] = ids
        batch["attention_mask"][n, : len(ids)] = 1
        batch["labels"][n, : len(ids)] = ids.where(torch.tensor(row.weights) > 0, torch.tensor(-100))
    return batch


class Rise:
    """What a step along some gradients does to the reference loss, by its slope: made block by block.

    `moments` are the slope and AdamW's two moments. Nothing decays the weights, and what decayed them would be in the
    null step as well.
    """

    def __init__(self, student: Student, moments: Mapping[str, Sequence[Tensor]]) -> None:
        self._settings, self._moments = student.settings, moments
        self._still = self._of({name: torch.zeros_like(slope) for name, (slope, _, _) in moments.items()})

    def influence(self, gradients: Gradients) -> float:
        return self._still - self._of(gradients)

    def _of(self, gradients: Gradients) -> float:
        settings, (beta1, beta2) = self._settings, self._settings.betas
        corrections = [1 - beta ** (settings.steps_done + 1) for beta in (beta1, beta2)]
        total = 0.0
        for name, moments in self._moments.items():
            blocks = (each.flatten().split(BLOCK) for each in (*moments, gradients[name]))
            for slope, first, second, g in zip(*blocks, strict=True):
                root = (beta2 * second).addcmul_(g, g, value=1 - beta2).div_(corrections[1]).sqrt_().add_(settings.eps)
                total += float(torch.dot(slope, (beta1 * first).add_(g, alpha=1 - beta1).div_(root)))
        return -settings.lr / corrections[0] * total


if __name__ == "__main__":
    main()
