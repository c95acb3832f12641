"""How well cheaper estimates of a row's influence rank rows, against the measured one. Prints Markdown tables.

    .venv/bin/python benchmarks/influence_estimators.py ROWS.json [--from alpaca] [--rows 48] [--reference 32]
        [--warm-ups 10 100]                                                    # more than an hour on two cores

A table for each length of warm-up. `exact` is what `tutelage probe --method exact` measures: one AdamW step on the row,
the reference loss after it, against a step without news. Compared with it, over the same rows:

- `first_order`, and what is left of it where only some of the weights count (the others need no gradient and no step),
  or where the row's gradient is made by a model in bf16
- what is linear in the row's gradient g, ⟨w, g⟩ with one w for all rows: no backward pass, as forward-mode
  differentiation has a whole pack's rows at the price of two forward passes. SGD: w is the reference loss's slope.
  The others are AdamW's step with a second moment that the row does not change: the one that is there (frozen), with
  what rows bring on average (expected), or the line through the steps of `--calibration` other rows, weight by weight
  (fitted)
- the part of `first_order` that turns with the sign of g, which is what a row says itself (odd), and the one that does
  not, which is how its g² in the second moment shortens the step that the moments make without it (even)
- AdamW's step to first order in (g, g²)
- sketches: what is left of `first_order` where the step and the slope are kept as a random projection only, as for rows
  that many reference sets ask about
- influence *defined* with such a second moment, measured as `exact` is; the linear form is its first order

`needs` is what a row costs, beside what is made once: F a forward pass, B a backward pass without the products that
make weights' gradients, W those products, S an optimizer's step over all weights; B/4 is a quarter of it. Seconds are
in `influence_cost.py`.
"""

import argparse
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from influence_student import Sloped, Student, examples, layer_of, mean_nats, warm_up
from torch import Tensor, nn
from torch.func import functional_call, jvp

from cluster.models import resolve
from pipelines.core.records import Influence, TrainExample
from pipelines.influence.agreement import agreement
from pipelines.influence.nats import gradient, nats
from pipelines.influence.probe import Probe
from pipelines.influence.reference import Reference
from pipelines.influence.state import Gradients, Warm
from pipelines.train.attention import load
from pipelines.train.batches import Batch, collate, packs

TOKENS_PER_PACK = 512
SKETCHES = (16384, 4096)  # each divides the one before
EMBEDDING = "model.embed_tokens.weight"  # tied: the head, too
HEAD = "head"  # that weight with its gradient as a head alone, for which nothing goes back through layers
SHARES = (4, 16, 64)  # of every matrix's rows: one in so many, drawn once
Weights = Mapping[str, Tensor]
Scores = list[float]
Takes = Callable[[str], bool]


@dataclass(frozen=True)
class Line:
    """An estimate of every row."""

    name: str
    needs: str
    scores: Scores


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    folder = resolve(args.model, "--model").folder()
    drawn = examples(args.data, args.format, folder, args.tokens, args.seed)
    reference, rows, others = (list(islice(drawn, count)) for count in (args.reference, args.rows, args.calibration))
    steps = [list(islice(drawn, args.per_step)) for _ in range(max(args.warm_ups))]
    for length in args.warm_ups:
        student = warm_up(load(folder, torch.float32), steps[:length], args.peak, (0.9, args.beta2))
        print(f"\n{length} steps of warm-up, {len(rows)} rows, {len(reference)} of reference\n", flush=True)
        _tables(student, Reference(reference, "global_token"), rows, others)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--from", dest="format", default="alpaca")
    parser.add_argument("--model", default="embedded:smollm2-135m-instruct")
    parser.add_argument("--rows", type=int, default=48, help="to estimate")
    parser.add_argument("--reference", type=int, default=32)
    parser.add_argument("--calibration", type=int, default=16, help="other rows, for what rows do on average")
    parser.add_argument("--tokens", type=int, default=160, help="longer rows are left out")
    parser.add_argument("--warm-ups", type=int, nargs="+", default=[10, 100], help="steps")
    parser.add_argument("--per-step", type=int, default=8, help="rows of a warm-up step")
    parser.add_argument("--peak", type=float, default=5e-6, help="learning rate")
    parser.add_argument("--beta2", type=float, default=0.999)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


def _tables(
    student: Student, reference: Reference, rows: Sequence[TrainExample], others: Sequence[TrainExample]
) -> None:
    probe = Sloped(student.warm(), reference)
    exact = _exact(probe, rows)
    drift = probe.before - probe.null_step
    print(f"exact: {min(exact):+.1e} to {max(exact):+.1e}, noise {probe.noise:.0e}")
    print(f"what a step without news gains: {drift:+.1e}\n")
    print("| estimate | needs | Spearman with exact | Pearson | same sign |\n|---|---|---:|---:|---:|")
    average = Average.over(others, student)
    bowls = {"frozen": roots(student), "expected": roots(student, average.squares)}
    for line in _by_gradient(student, probe.slope, bowls, average, rows):
        _show(line, exact)
    began = time.monotonic()
    linear = _linear(student, probe.slope, bowls, average, rows)
    seconds = (time.monotonic() - began) / len(linear) / len(rows)
    for line in linear:
        _show(line, exact)
    measured = {name: _exact(Probe(Frozen(student, bowl), reference), rows) for name, bowl in bowls.items()}
    for name, scores in measured.items():
        _show(Line(f"second moment {name}, measured", "F B W S, and the reference", scores), exact)
    print("\n| linear | needs | Spearman with its own measured one | Pearson | same sign |\n|---|---|---:|---:|---:|")
    for line in linear:
        if line.name in measured:
            _show(line, measured[line.name])
    print(f"\nforward mode, packs of {TOKENS_PER_PACK} tokens: {seconds:.2f} seconds/row")


def _show(line: Line, against: Scores) -> None:
    found = agreement(line.scores, against)
    cells = f"{found.spearman:.3f} | {found.pearson:.3f} | {found.same_sign:.0%}"
    print(f"| {line.name} | {line.needs} | {cells} |", flush=True)


def _exact(probe: Probe, rows: Sequence[TrainExample]) -> Scores:
    return [found.influence for found in map(probe.exact, rows) if isinstance(found, Influence)]


# What rows do on average


@dataclass
class Average:
    """Of other rows, by weight: the mean of g², and the line through the origin nearest to their steps over g."""

    squares: dict[str, Tensor] = field(default_factory=dict)
    lines: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def over(cls, rows: Sequence[TrainExample], student: Student) -> "Average":
        warm, made = student.warm(), cls()
        for row in rows:
            for name, g in gradient([mean_nats(student.model, [row])], warm.trained).items():
                _add(made.squares, name, g * g / len(rows))
                _add(made.lines, name, g * _news(warm, name, g) / len(rows))
        for name, line in made.lines.items():
            line.div_(made.squares[name]).nan_to_num_(0.0, 0.0, 0.0)
        return made


def _add(total: dict[str, Tensor], name: str, part: Tensor) -> None:
    total[name] = total[name].add_(part) if name in total else part


def _news(warm: Warm, name: str, g: Tensor) -> Tensor:
    """By how much a row's step differs from the one without news."""
    return warm.delta(name, g).sub_(warm.delta(name, None))


# A second moment that the row does not change


def roots(student: Student, squares: Weights | None = None) -> dict[str, Tensor]:
    """AdamW's √v̂ + ε of the next step, to which these g² are news, or nothing is."""
    settings, beta2 = student.settings, student.settings.betas[1]
    correction = 1 - beta2 ** (settings.steps_done + 1)
    found = {}
    for name, second in student.second.items():
        grown = beta2 * second if squares is None else (beta2 * second).add_(squares[name], alpha=1 - beta2)
        found[name] = grown.div_(correction).sqrt_().add_(settings.eps)
    return found


class Frozen(Warm):
    """Makes steps with these √v̂ + ε, whatever the row."""

    def __init__(self, student: Student, bowl: Weights) -> None:
        super().__init__(student.model, student.settings, student.first, student.second)
        self._bowl = bowl

    def delta(self, name: str, gradient: Tensor | None) -> Tensor:
        beta1, t = self.optimizer.betas[0], self.optimizer.steps_done + 1
        first = beta1 * self._first[name]
        if gradient is not None:
            first.add_(gradient, alpha=1 - beta1)
        return first.div_(self._bowl[name]).mul_(-self.optimizer.lr / (1 - beta1**t))


# Linear in the gradient


def _linear(
    student: Student, slope: Gradients, bowls: Mapping[str, Weights], average: Average, rows: Sequence[TrainExample]
) -> list[Line]:
    beta1, settings = student.settings.betas[0], student.settings
    unit = settings.lr * (1 - beta1) / (1 - beta1 ** (settings.steps_done + 1))
    directions = {
        "SGD": slope,
        **{name: {weight: unit * slope[weight] / bowl[weight] for weight in slope} for name, bowl in bowls.items()},
        "fitted": {weight: -slope[weight] * average.lines[weight] for weight in slope},
    }
    lines = []
    for name, direction in directions.items():
        inner = {**direction, EMBEDDING: torch.zeros_like(direction[EMBEDDING])}
        lines.append(Line(name, "2 F", along(student.model, direction, rows)))
        lines.append(Line(f"{name}, without the embedding", "2 F", along(student.model, inner, rows)))
    return lines


class _Nats(nn.Module):
    """Nats per weighted token of each row of a pack, as a module whose weights can be replaced."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        counts_E = torch.bincount(batch.example_N, minlength=len(batch.ids))
        return nats(self.model, batch, batch.weights_N / counts_E[batch.example_N])


def along(model: Any, direction: Weights, rows: Sequence[TrainExample]) -> Scores:
    """⟨direction, g⟩ of each row, by forward-mode differentiation, a pack at a time."""
    module, found = _Nats(model), []
    weights = {name: weight.detach() for name, weight in module.named_parameters()}
    tangents = {name: direction[name.removeprefix("model.")] for name in weights}
    for pack in packs(rows, TOKENS_PER_PACK):
        nats_of = partial(functional_call, module, args=(collate(pack, {}),))
        with torch.no_grad():
            _, slopes_E = jvp(nats_of, (weights,), (tangents,))
        found += slopes_E.tolist()
    return found


# What needs every row's own gradient


def _by_gradient(
    student: Student, slope: Gradients, bowls: Mapping[str, Weights], average: Average, rows: Sequence[TrainExample]
) -> list[Line]:
    warm, low = student.warm(), deepcopy(student.model).to(torch.bfloat16)
    sketch = Sketch({name: weight.numel() for name, weight in warm.trained.items()})
    sketched_slope = sketch.of(slope)
    drawn = [(share, _some_rows(slope, share)) for share in SHARES]
    parts: list[dict[str, float]] = []
    lower: list[dict[str, float]] = []
    against: Scores = []
    about_null: Scores = []
    about_mean: Scores = []
    sketched: list[Scores] = [[] for _ in SKETCHES]
    for row in rows:
        g = gradient([mean_nats(student.model, [row])], warm.trained)
        news = {name: _news(warm, name, g[name]) for name in g}
        parts.append({name: -_dot(slope[name], step) for name, step in news.items()})
        parts[-1] |= {_share(n): -sum(_dot(slope[m][at], news[m][at]) for m, at in kept.items()) for n, kept in drawn}
        parts[-1][HEAD] = -_dot(slope[EMBEDDING], _news(warm, EMBEDDING, _of_head(student.model, row)))
        against.append(-sum(_dot(slope[name], _news(warm, name, -g[name])) for name in g))
        flat = sketch.of(news)
        for scores, width in zip(sketched, SKETCHES, strict=True):
            scores.append(-_dot(_folded(flat, width), _folded(sketched_slope, width)))
        about_null.append(_taylor(student, slope, g, bowls["frozen"]))
        about_mean.append(_taylor(student, slope, g, bowls["frozen"], bowls["expected"], average.squares))
        g = gradient([mean_nats(low, [row])], dict(low.named_parameters()))
        lower.append({name: -_dot(slope[name], _news(warm, name, g[name].float())) for name in g})
    subsets = _subsets(slope)
    whole = [sum(row[name] for name in slope) for row in parts]
    return [
        *(_among(f"first_order: {which}", needs, parts, takes) for which, needs, takes in subsets),
        *(_among(f"in bf16: {which}", needs, lower, takes) for which, needs, takes in subsets[:4]),
        Line("odd in g", "F B W, 2 S", [(plus - minus) / 2 for plus, minus in zip(whole, against, strict=True)]),
        Line("even in g", "F B W, 2 S", [(plus + minus) / 2 for plus, minus in zip(whole, against, strict=True)]),
        Line("(g, g²) about the null step", "F B W S", about_null),
        Line("(g, g²) about the mean g²", "F B W S", about_mean),
        *(Line(f"sketch of {width}", "F B W S", scores) for width, scores in zip(SKETCHES, sketched, strict=True)),
    ]


def _subsets(weights: Collection[str]) -> list[tuple[str, str, Takes]]:
    """(what counts, what it needs, whether the part of this name is among it)."""
    layers = 1 + max(map(layer_of, weights))
    return [
        ("all", "F B W S", lambda name: name in weights),
        *(_top(layers, share) for share in (2, 4, 8, 16)),
        ("the head", "F, W and S of it", lambda name: name == HEAD),
        ("all but the embedding", "F B W S", lambda name: name in weights and name != EMBEDDING),
        ("the embedding", "F B, W and S of it", lambda name: name == EMBEDDING),
        ("every second layer", "F B (W S)/2", lambda name: layer_of(name) % 2 == 1),
        ("every fourth layer", "F B (W S)/4", lambda name: layer_of(name) % 4 == 3),
        ("attention", "F B (W S)/5", lambda name: "self_attn" in name),
        ("mlp", "F B (W S)·4/5", lambda name: "mlp" in name),
        ("norms", "F B", lambda name: "norm" in name),
        *((_share(n), f"F B (W S)/{n}", partial(str.__eq__, _share(n))) for n in SHARES),
    ]


def _top(layers: int, share: int) -> tuple[str, str, Takes]:
    count = round(layers / share)
    return f"top {count} layers", f"F (B W S)/{share}", lambda name: layer_of(name) >= layers - count


def _share(n: int) -> str:
    return f"1/{n} of every layer's matrices"


def _some_rows(weights: Weights, share: int) -> dict[str, Tensor]:
    """Which rows of each of the layers' matrices."""
    chance = torch.Generator().manual_seed(share)
    matrices = {name: len(weight) for name, weight in weights.items() if weight.dim() == 2 and layer_of(name) >= 0}
    return {name: torch.randperm(rows, generator=chance)[: rows // share] for name, rows in matrices.items()}


def _among(name: str, needs: str, parts: Sequence[Mapping[str, float]], takes: Takes) -> Line:
    return Line(name, needs, [sum(part for weight, part in row.items() if takes(weight)) for row in parts])


def _of_head(model: Any, row: TrainExample) -> Tensor:
    """The tied embedding's gradient without what comes back through the layers."""
    with _cut_off(model.get_input_embeddings()):
        return gradient([mean_nats(model, [row])], {HEAD: model.get_output_embeddings().weight})[HEAD]


@contextmanager
def _cut_off(module: nn.Module) -> Iterator[None]:
    hook = module.register_forward_hook(lambda module, given, output: output.detach())
    try:
        yield
    finally:
        hook.remove()


def _taylor(
    student: Student, slope: Gradients, g: Gradients, still: Weights, bowl: Weights | None = None,
    squares: Weights | None = None,
) -> float:  # fmt: skip
    """First order of the influence in (g, g²), about a gradient of 0 and these squares, of which there may be none.

    With r = √v̂ + ε there, and s without squares: (β1·m + (1-β1)·g) / r, less β1·m·(1-β2)·(g² - squares) / (2·r³), less
    the null step's β1·m / s; all bias-corrected.
    """
    settings, (beta1, beta2) = student.settings, student.settings.betas
    corrections = [1 - beta ** (settings.steps_done + 1) for beta in (beta1, beta2)]
    total = 0.0
    for name, news in g.items():
        first, r = beta1 * student.first[name], (bowl or still)[name]
        square = news * news - squares[name] if squares else news * news
        bent = first * square * ((1 - beta2) / corrections[1] / 2) / r**3
        total += _dot(slope[name], (1 - beta1) * news / r - bent + (first / r - first / still[name]))
    return settings.lr / corrections[0] * total


class Sketch:
    """Count sketches of all weights: each has a sign drawn once, and adds to the cell of its place in a row."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        chance = torch.Generator().manual_seed(7)
        self._signs = {
            name: torch.randint(0, 2, (size,), generator=chance, dtype=torch.int8) * 2 - 1
            for name, size in sizes.items()
        }

    def of(self, values: Weights) -> Tensor:
        """The widest sketch; narrower ones are folded from it."""
        parts = [_folded(values[name].flatten() * signs, SKETCHES[0]) for name, signs in self._signs.items()]
        return torch.stack(parts).sum(0)


def _folded(flat: Tensor, width: int) -> Tensor:
    return F.pad(flat, (0, -len(flat) % width)).view(-1, width).sum(0)


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum(dtype=torch.float64))


if __name__ == "__main__":
    main()
