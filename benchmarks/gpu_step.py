"""Training tokens per second on one GPU and their share of what it could compute (MFU). Prints a Markdown table.

    .venv/bin/python benchmarks/gpu_step.py [--layers 16 --width 2048 ...] [--pack 8192] [--length 1024] [--steps 20]

A student of random weights (about 1.2 billion as it comes: the shape of Llama 3.2 1B), the product's learner, packs and
losses, and torch's fused AdamW in bf16: the inner step alone, without Ray and DeepSpeed, which need not be installed.
Answers only (`sft`), and with distillation from captured candidates (made up: their values cost nothing).

MFU counts 6 FLOPs per token for each weight in a matrix product (those of the head for the learnt half of the tokens
only), and 6 · layers · width · length for causal attention forward and backward; nothing computed twice counts. Where
there is no CUDA it says so and measures nothing; `--device cpu` tries the script itself, at sizes of your own.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.core.config import Train
from pipelines.core.records import SoftTargets, TrainExample

K = 32
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12}  # dense bf16 FLOP/s, by the makers' sheets
LOSSES = {"sft": {"answer": 1.0}, "kd, captured": {"answer": 0.3, "kd": 1.0}}


@dataclass(frozen=True)
class Seen:
    tokens_per_s: float
    flops_per_token: float
    peak_gib: float


def main() -> None:
    args = _arguments()
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        print("skipped: torch sees no CUDA device here")
        return
    name = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    peak = args.peak or next((flops for part, flops in PEAKS.items() if part in name), None)
    print(f"{name}, torch {torch.__version__}, packs of {args.pack} tokens, examples of {args.length}\n")
    print("| losses | weights | tokens/s | TFLOP/s | MFU | peak, GiB |")
    print("|---|---:|---:|---:|---:|---:|")
    for losses, coefficients in LOSSES.items():
        model = _model(args)
        seen = _measured(model, Train.model_validate({"losses": coefficients, "top_k": K}), args)
        weights = sum(p.numel() for p in model.parameters())
        flops = seen.tokens_per_s * seen.flops_per_token
        share = f"{flops / peak:.1%}" if peak else "-"
        print(
            f"| {losses} | {weights / 1e6:,.0f} M | {seen.tokens_per_s:,.0f} | {flops / 1e12:.1f} | {share} | "
            f"{seen.peak_gib:.1f} |",
            flush=True,
        )
        del model


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--key-heads", type=int, default=8)
    parser.add_argument("--inner", type=int, default=8192)
    parser.add_argument("--vocabulary", type=int, default=128_256)
    parser.add_argument("--pack", type=int, default=8192, help="tokens of a step")
    parser.add_argument("--length", type=int, default=1024, help="tokens of an example")
    parser.add_argument("--steps", type=int, default=20, help="timed, after three that warm up")
    parser.add_argument("--peak", type=float, help="the device's dense bf16 FLOP/s, where it is not known here")
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
    with torch.device(args.device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.set_attn_implementation(NAME)
    return model.train()


def _measured(model: Any, config: Train, args: argparse.Namespace) -> Seen:
    import torch

    from pipelines.train.batches import collate
    from pipelines.train.learner import Learner
    from pipelines.train.loop import adamw
    from pipelines.train.references import Companions
    from pipelines.train.step import counts, objective

    examples = _examples(args)
    signals = {e.id: _made_up(e, args.vocabulary) for e in examples} if config.needs_signals else {}
    total = counts(examples, signals, config)
    coefficients = {str(name): value for name, value in config.losses.items()}
    learner, companions = Learner(model, config), Companions(config, None, None, None)
    optimizer = adamw(model.parameters(), config)
    batch = collate(examples, signals).to(args.device)

    def step() -> None:
        parts = learner.sums(batch, companions.read(batch))
        objective(parts, total, coefficients).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(3):
        step()
    _wait(args.device)
    began = time.monotonic()
    for _ in range(args.steps):
        step()
    _wait(args.device)
    tokens = args.steps * sum(len(e.token_ids) for e in examples)
    peak = torch.cuda.max_memory_allocated() / 2**30 if args.device == "cuda" else 0.0
    head = model.get_output_embeddings().weight.numel()
    body = sum(p.numel() for p in model.parameters()) - head  # tied: the embedding itself is no product
    learnt = sum(w > 0 for w in examples[0].weights) / args.length
    flops = 6 * (body + learnt * head) + 6 * args.layers * args.width * args.length
    return Seen(tokens / (time.monotonic() - began), flops, peak)


def _wait(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def _examples(args: argparse.Namespace) -> Sequence[TrainExample]:
    """Rows of random tokens; the second half of each is its answer."""
    import numpy as np

    chance = np.random.default_rng(7)
    half = args.length // 2
    return [
        TrainExample(
            f"e{n}", f"a{n}", f"i{n}", "answer", tuple(chance.integers(0, args.vocabulary, args.length).tolist()),
            (0.0,) * half + (1.0,) * (args.length - half),
        )
        for n in range(args.pack // args.length)
    ]  # fmt: skip


def _made_up(example: TrainExample, vocabulary: int) -> SoftTargets:
    import numpy as np

    from pipelines.core.signals import pack

    positions = tuple(t for t, weight in enumerate(example.weights) if weight > 0)
    ids_PK = (np.arange(K)[None] + np.array(positions)[:, None] * K) % vocabulary
    return pack(example.id, example.id, positions, ids_PK, np.full((len(positions), K), -4.0))


if __name__ == "__main__":
    main()
