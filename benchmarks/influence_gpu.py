"""Rows per hour that one GPU probes, by `exact` and by `first_order`. Prints a Markdown table.

    .venv/bin/python benchmarks/influence_gpu.py [--layers 16 --width 2048 ...] [--reference 256] [--length 512]

A student of random weights (about 1.2 billion as it comes: the shape of Llama 3.2 1B), a few AdamW steps on random
tokens, and the product's probe over rows of random tokens, in fp32 as it is: without Ray and DeepSpeed, which need not
be installed. The second half of each row is its answer. Matrix products are fp32, and then with TF32: exact measures
differences in a loss's last digits, so agreement with exact under fp32 says whether TF32 would do. Such a student
learns little from such rows, so it says nothing of how the two agree on real ones.

`once` is what there is to do before the first row. Where there is no CUDA it says so and measures nothing;
`--device cpu` tries the script itself, at sizes of your own.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from pipelines.core.records import Influence, InfluenceMethod, TrainExample

if TYPE_CHECKING:
    from influence_student import Student

PRODUCTS = {"fp32": "highest", "TF32": "high"}  # -> torch's name for it


def main() -> None:
    args = _arguments()
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        print("skipped: torch sees no CUDA device here")
        return
    from influence_student import warm_up

    drawn = _examples(args.vocabulary, args.length)
    reference, rows = list(islice(drawn, args.reference)), list(islice(drawn, args.rows))
    student = warm_up(_model(args), [list(islice(drawn, 8)) for _ in range(4)], 5e-6, (0.9, 0.999))
    name = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    weights = sum(weight.numel() for weight in student.first.values())
    print(
        f"{name}, torch {torch.__version__}, {weights / 1e6:,.0f} M weights, rows of {args.length} tokens, "
        f"{args.reference} of reference\n"
    )
    print("| products | method | once, s | seconds/row | rows per GPU-hour | Spearman with exact, fp32 | peak, GiB |")
    print("|---|---|---:|---:|---:|---:|---:|")
    exact: Sequence[float] = ()
    for products, precision in PRODUCTS.items():
        torch.set_float32_matmul_precision(precision)
        for method in ("exact", "first_order"):
            cells, scores = _measured(student, reference, rows, method, exact)
            exact = exact or scores
            print(f"| {products} | {method} | {cells} |", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--key-heads", type=int, default=8)
    parser.add_argument("--inner", type=int, default=8192)
    parser.add_argument("--vocabulary", type=int, default=128_256)
    parser.add_argument("--reference", type=int, default=256, help="rows")
    parser.add_argument("--rows", type=int, default=16, help="to probe, each way")
    parser.add_argument("--length", type=int, default=512, help="tokens of a row")
    return parser.parse_args()


def _model(args: argparse.Namespace) -> Any:
    import torch
    from transformers import AttentionInterface, AutoModelForCausalLM, LlamaConfig

    from pipelines.train.attention import NAME, packed

    AttentionInterface.register(NAME, packed)
    config = LlamaConfig(
        num_hidden_layers=args.layers, hidden_size=args.width, num_attention_heads=args.heads,
        num_key_value_heads=args.key_heads, intermediate_size=args.inner, vocab_size=args.vocabulary,
        tie_word_embeddings=True, use_cache=False,
    )  # fmt: skip
    torch.manual_seed(7)
    with torch.device(args.device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.set_attn_implementation(NAME)
    return model.eval()


def _examples(vocabulary: int, length: int) -> Iterator[TrainExample]:
    """Rows of random tokens without end; the second half of each is its answer."""
    import numpy as np

    chance, half, number = np.random.default_rng(7), length // 2, 0
    while True:
        ids = tuple(chance.integers(0, vocabulary, length).tolist())
        yield TrainExample(f"e{number}", "", "", "answer", ids, (0.0,) * half + (1.0,) * (length - half))
        number += 1


def _measured(
    student: "Student", reference: list[TrainExample], rows: list[TrainExample], method: InfluenceMethod,
    exact: Sequence[float],
) -> tuple[str, Sequence[float]]:  # fmt: skip
    """(the table's cells, scores). The first row counts as what is made once: the slope, and the device's kernels."""
    import torch

    from pipelines.influence.agreement import agreement
    from pipelines.influence.probe import Probe
    from pipelines.influence.reference import Reference

    if on_gpu := torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    probe = Probe(student.warm(), Reference(reference, "global_token"))
    first = probe.influence(rows[0], method)
    ready = time.monotonic()
    found = [first, *(probe.influence(row, method) for row in rows[1:])]
    seconds = (time.monotonic() - ready) / (len(rows) - 1)
    scores = [each.influence for each in found if isinstance(each, Influence)]
    peak = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0
    agrees = f"{agreement(scores, exact).spearman:.3f}" if exact else "1"
    return f"{ready - began:.1f} | {seconds:.3f} | {3600 / seconds:,.0f} | {agrees} | {peak:.1f}", scores


if __name__ == "__main__":
    main()
