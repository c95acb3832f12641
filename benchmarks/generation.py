"""Output tokens per second of the generation stage, of raw vLLM and of stock `ray.data.llm`, in one run.

    .venv/bin/python benchmarks/generation.py [--samples 2] [--max-tokens 96] [--rounds 2]

The same prompts (the built-in tasks, with samples of each), token ids, seeds, engine arguments and process environment
for all three, each in a process of its own, one after another, `--rounds` times. What starts is told apart: a rate is
of the time from the first request to the last token, so it has the end in it, when the batch runs empty. The stage
commits its parts and ledger as it always does. Prints a Markdown table, and each rate as a share of raw vLLM's in the
same round. `--gib` is what an engine's cache may take on a CPU.
"""

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cluster import engines
from cluster.models import resolve
from cluster.session import Session, session
from pipelines.core import parts
from pipelines.core.builtin import SEED_TASKS
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Answers, Engine, Pool, Sampling
from pipelines.core.progress import Progress
from pipelines.core.records import Instruction
from pipelines.core.storage import Folder
from pipelines.generate.answers import AnswerWork
from pipelines.generate.pool import run_on_pool
from pipelines.generate.seeds import read
from pipelines.generate.teacher import Request, TeacherId
from pipelines.generate.vllm_teacher import VLLMTeacher, sampling_params
from pipelines.generate.work import ShardRun

TEACHER = TeacherId("main", "benchmark")


@dataclass(frozen=True)
class Load:
    """What all ways are asked."""

    folder: Path
    engine: Engine
    rows: list[Instruction]
    config: Answers

    @property
    def work(self) -> AnswerWork:
        return AnswerWork("answers", self.config, TEACHER)

    def requests(self) -> list[Request]:
        return [request for row in self.rows for request in self.work.requests(row)]


@dataclass(frozen=True)
class Seen:
    start_up_s: float
    seconds: float
    tokens: int

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def raw_vllm(load: Load) -> Seen:
    """`LLM.generate`, all requests at once."""
    setup = engines.setup(load.folder, load.engine, _this_machine())
    os.environ.update(setup.env)
    from vllm import LLM

    began = time.monotonic()
    llm = LLM(**setup.args)
    tokenizer = ChatTokenizer(str(load.folder))
    prompts = [{"prompt_token_ids": request.prompt_ids(tokenizer)} for request in load.requests()]
    params = [sampling_params(request.sampling, request.seed) for request in load.requests()]
    ready = time.monotonic()
    outputs = llm.generate(prompts, params, use_tqdm=False)
    seconds = time.monotonic() - ready
    return Seen(ready - began, seconds, sum(len(output.outputs[0].token_ids) for output in outputs))


def generation_stage(load: Load) -> Seen:
    """The pool of the product, with one actor."""
    with session() as live, tempfile.TemporaryDirectory() as home:
        setup = engines.setup(load.folder, load.engine, live)
        runs, progress = Folder(home), Counted(out=io.StringIO())
        source = runs.child("source")
        parts.write_rows(source, load.rows, Instruction)
        shards = tuple(parts.cut(source))
        run = ShardRun(load.work, "answers", TEACHER, source, runs.child("answers"), runs, shards)
        make = partial(VLLMTeacher, TEACHER.digest, ChatTokenizer(str(load.folder)), setup.args)
        resources = {**setup.bundles[0], "runtime_env": {"env_vars": setup.env}}
        resources = {"num_cpus": resources.pop("CPU"), "num_gpus": resources.pop("GPU", 0), **resources}
        began = time.monotonic()
        run_on_pool(run, make, Pool(min=1, max=1), resources, progress, watchdog_s=600)
        tokens = parts.totals(run.target)["output_tokens"]
        return Seen(progress.began - began, progress.last - progress.began, tokens)


@dataclass
class Counted(Progress):
    """When the first request was asked, and when the last part was committed."""

    began: float = 0.0
    last: float = 0.0

    def ready(self, seconds_ago: float = 0.0) -> None:
        self.began = time.monotonic() - seconds_ago

    def advance(self, rows: int, tokens: int = 0) -> None:
        self.last = time.monotonic()


def ray_data_llm(load: Load) -> Seen:
    """Ray Data's own processor, given token ids."""
    with session() as live:
        import ray.data
        from ray.data.llm import build_processor, vLLMEngineProcessorConfig

        setup = engines.setup(load.folder, load.engine, live)
        args = {name: value for name, value in setup.args.items() if name != "model"}
        config = vLLMEngineProcessorConfig(
            model_source=setup.args["model"], engine_kwargs=args, runtime_env={"env_vars": setup.env}, concurrency=1,
            batch_size=parts.SHARD_ROWS, chat_template_stage=False, tokenize_stage=False, detokenize_stage=False,
            placement_group_config={"bundles": setup.bundles},
        )  # fmt: skip

        def ended_row(row: dict[str, Any]) -> dict[str, Any]:  # in here, so that it travels whole to other processes
            return {"tokens": row["num_generated_tokens"], "took_s": row["time_taken_llm"], "ended_at": time.time()}

        tokenizer = ChatTokenizer(str(load.folder))
        rows = [_ray_row(request, tokenizer) for request in load.requests()]
        processor = build_processor(config, postprocess=ended_row)
        ray.data.DataContext.get_current().enable_progress_bars = False
        began = time.time()
        blocks = -(-len(rows) // parts.SHARD_ROWS)
        ended = processor(ray.data.from_items(rows, override_num_blocks=blocks)).take_all()
    first = min(row["ended_at"] - row["took_s"] for row in ended)
    last = max(row["ended_at"] for row in ended)
    return Seen(first - began, last - first, sum(row["tokens"] for row in ended))


def _ray_row(request: Request, tokenizer: ChatTokenizer) -> dict[str, Any]:
    sampling = request.sampling
    asked = {
        "temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_tokens,
        "seed": request.seed, "detokenize": True,
    }  # fmt: skip
    return {"tokenized_prompt": list(request.prompt_ids(tokenizer)), "sampling_params": asked}


def _this_machine() -> Session:
    import torch

    return Session("", Path(), torch.cuda.device_count(), os.cpu_count() or 1)


WAYS: dict[str, Callable[[Load], Seen]] = {
    "raw vLLM": raw_vllm, "generation stage": generation_stage, "ray.data.llm": ray_data_llm,
}  # fmt: skip


def main() -> None:
    args = _arguments()
    load = _load(args)
    print("| round | way | start-up, s | seconds | output tokens | tokens/s | of raw vLLM |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for number in range(1, args.rounds + 1):
        raw = 0.0
        for name in args.ways:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                seen = alone.submit(WAYS[name], load).result()
            raw = seen.rate if WAYS[name] is raw_vllm else raw
            share = f"{seen.rate / raw:.3f}" if raw else "-"
            print(
                f"| {number} | {name} | {seen.start_up_s:.0f} | {seen.seconds:.1f} | {seen.tokens:,} | "
                f"{seen.rate:.0f} | {share} |",
                flush=True,
            )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded:smollm2-135m-instruct")
    parser.add_argument("--samples", type=int, default=2, help="of each of the built-in tasks")
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--max-num-seqs", type=int, default=64)
    parser.add_argument("--gib", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    return parser.parse_args()


def _load(args: argparse.Namespace) -> Load:
    engine = Engine(
        dtype="bfloat16", max_model_len=1024, max_num_seqs=args.max_num_seqs, enforce_eager=True, kv_cache_gib=args.gib
    )
    sampling = Sampling(temperature=0.7, max_tokens=args.max_tokens)
    config = Answers(teacher="main", samples=args.samples, sampling=sampling)
    return Load(resolve(args.model, "--model").folder(), engine, read(SEED_TASKS)[0], config)


if __name__ == "__main__":
    main()
