"""Real tokens per second of training, beside TRL's `SFTTrainer`, in one run. Prints a Markdown table.

    .venv/bin/python benchmarks/training_speed.py ROWS.json [--rows 96] [--per-step 8] [--threads 2]

The same model, rows, order of steps, examples per step, precision and optimizer for all; each in a process of its own.
"Real" tokens are those of the rows, without padding. The rows are Alpaca's ({instruction, input, output}, a JSON list),
rendered once by the model's chat template. What is timed is the loop, after one step that warms up: here the inner step
of the product's loop (its learner, packs and losses under DeepSpeed) without Ray around it, there TRL's own training.

- ours: sft; and kd from captured candidates (made up ones: their values cost nothing more or less), and kd from a
  teacher beside the student (the model itself)
- TRL as it comes (padded batches), and with its packing on

`peak` is the process's largest resident memory, in GiB, with everything that it imported.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cluster.models import resolve
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Train
from pipelines.core.records import Answer, SoftTargets, TrainExample

SEED, K = 7, 32


@dataclass(frozen=True)
class Load:
    """What all ways learn from."""

    model: Path
    rows: list[dict[str, str]]
    per_step: int
    threads: int

    def turns(self) -> list[tuple[str, str]]:
        return [
            ("\n\n".join(filter(None, (row["instruction"], row.get("input", "")))), row["output"]) for row in self.rows
        ]

    def examples(self) -> list[TrainExample]:
        from pipelines.train import examples

        answers = [Answer(f"a{n}", f"i{n}", f"c{n}", q, a, "stop") for n, (q, a) in enumerate(self.turns())]
        encoded = partial(examples.encode, tokenizer=ChatTokenizer(str(self.model)))
        return examples.make(answers, encoded, max_length=1024)[0]


@dataclass(frozen=True)
class Seen:
    seconds: float
    tokens: int
    steps: int
    peak_gib: float


def ours(load: Load, **settings: Any) -> Seen:
    """The product's step over DeepSpeed, one worker."""
    import torch

    from pipelines.train.batches import order

    torch.set_num_threads(load.threads)
    examples = load.examples()
    config = Train.model_validate({"examples_per_step": load.per_step, "zero_stage": 0, "top_k": K, **settings})
    rank = _rank(load, config, examples)
    steps = order(examples, 1, load.per_step, SEED)
    rank.step([examples[i] for i in steps[0]], 0, len(steps))
    began, tokens = time.monotonic(), 0
    for number, step in enumerate(steps[1:], 1):
        tokens += rank.step([examples[i] for i in step], number, len(steps)).tokens
    return Seen(time.monotonic() - began, tokens, len(steps) - 1, _peak())


def _rank(load: Load, config: Train, examples: Sequence[TrainExample]) -> Any:
    import deepspeed
    import torch

    from pipelines.core.storage import Folder
    from pipelines.train.attention import load as load_model
    from pipelines.train.job import TrainJob
    from pipelines.train.learner import Learner
    from pipelines.train.loop import Rank, adamw, deepspeed_config, forget_steps
    from pipelines.train.references import Companions

    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "127.0.0.1")):
        os.environ[name] = value
    os.environ["MASTER_PORT"] = "29613"
    torch.distributed.init_process_group("gloo")
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    model = load_model(load.model, torch.bfloat16).train()
    model.config.use_cache = False
    learner = Learner(model, config)
    engine, *_ = deepspeed.initialize(
        model=learner, optimizer=adamw(model.parameters(), config), config=deepspeed_config(config),
        dist_init_required=False,
    )  # fmt: skip
    forget_steps(engine)
    teacher = load_model(load.model, torch.bfloat16).requires_grad_(False) if config.needs_teacher else None
    signals = {e.id: _made_up(e) for e in examples} if config.needs_signals else {}
    job = TrainJob(str(load.model), Folder("/nowhere"), (), config, SEED, "", load.threads)
    return Rank(0, 1, engine, Companions(config, teacher, None, None), signals, job)


def _made_up(example: TrainExample) -> SoftTargets:
    import numpy as np

    from pipelines.core.signals import pack

    positions = tuple(t for t, weight in enumerate(example.weights) if weight > 0)
    chance = np.random.default_rng(len(positions))
    ids_PK = np.stack([chance.choice(40_000, K, replace=False) for _ in positions])
    return pack(example.id, example.id, positions, ids_PK, np.full((len(positions), K), -4.0))


def trl(load: Load, packing: bool) -> Seen:
    """TRL's trainer with its own collation, on the same rows."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(load.threads)
    rows = [
        {"prompt": [{"role": "user", "content": q}], "completion": [{"role": "assistant", "content": a}]}
        for q, a in load.turns()
    ]
    model = AutoModelForCausalLM.from_pretrained(load.model, dtype=torch.bfloat16)
    real = sum(len(e.token_ids) for e in load.examples())
    # A step has about as many real tokens: packed rows are as long as a step's examples, one of them a step.
    length = round(real / len(rows) * load.per_step) if packing else 1024
    clock = _Clock()

    class Timed(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.step()

    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir="/tmp/training-speed", per_device_train_batch_size=1 if packing else load.per_step,
            num_train_epochs=1, bf16=True, use_cpu=not torch.cuda.is_available(), report_to=[], save_strategy="no",
            logging_strategy="no", packing=packing, max_length=length, optim="adamw_torch_fused", seed=SEED,
            gradient_checkpointing=False, disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows), processing_class=AutoTokenizer.from_pretrained(load.model),
        callbacks=[Timed()],
    )  # fmt: skip
    trainer.train()
    share = (clock.steps - 1) / clock.steps  # of the tokens: those of the step that warmed up are not timed
    return Seen(clock.seconds, round(real * share), clock.steps - 1, _peak())


@dataclass
class _Clock:
    """Time since the end of the first step."""

    steps: int = 0
    began: float = 0.0
    seconds: float = 0.0

    def step(self) -> None:
        now = time.monotonic()
        self.began = self.began or now
        self.steps, self.seconds = self.steps + 1, now - self.began


def _peak() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


CAPTURED = {"losses": {"answer": 0.5, "kd": 1.0}}
ONLINE = {**CAPTURED, "kd": {"source": "online"}}
WAYS: dict[str, Callable[[Load], Seen]] = {
    "sft": ours,
    "TRL": lambda load: trl(load, packing=False),
    "TRL, packing": lambda load: trl(load, packing=True),
    "kd, captured": lambda load: ours(load, **CAPTURED),
    "kd, online": lambda load: ours(load, **ONLINE),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="embedded:smollm2-135m-instruct")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--per-step", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    args = parser.parse_args()
    rows = [row for row in json.loads(args.data.read_text(encoding="utf-8")) if row["output"].strip()][: args.rows]
    load = Load(resolve(args.model, "--model").folder(), rows, args.per_step, args.threads)
    print("| way | steps | real tokens | seconds | tokens/s | to `sft` | peak, GiB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    first = 0.0
    for name in args.ways:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            seen = alone.submit(_run, name, load).result()
        rate = seen.tokens / seen.seconds
        first = first or rate
        print(
            f"| {name} | {seen.steps} | {seen.tokens:,} | {seen.seconds:.1f} | {rate:.0f} | {rate / first:.2f} | "
            f"{seen.peak_gib:.2f} |",
            flush=True,
        )


def _run(name: str, load: Load) -> Seen:
    return WAYS[name](load)


if __name__ == "__main__":
    main()
