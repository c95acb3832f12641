"""How many valid, new instructions a teacher yields per request, by prompt. Prints a Markdown table.

    .venv/bin/python benchmarks/prompt_yield.py [--requests 32] [--model embedded:smollm2-135m-instruct]

Same seeds, filters and novelty threshold as the quickstart; each prompt starts from an empty pool. One engine in
this process, no Ray.
"""

import argparse
import asyncio
import os
import time
from pathlib import Path

from cluster.engines import setup
from cluster.models import resolve
from cluster.session import Session
from pipelines.core.builtin import SEED_TASKS
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Engine, Instructions, Sampling
from pipelines.core.records import Completion
from pipelines.generate.filters import chain
from pipelines.generate.instructions import Rounds, prompts, take
from pipelines.generate.novelty import Pool
from pipelines.generate.prompts import InstructionPrompt
from pipelines.generate.seeds import read
from pipelines.generate.teacher import TeacherId
from pipelines.generate.vllm_teacher import VLLMTeacher


async def measure(name: str, requests: int, teacher: VLLMTeacher, identity: TeacherId) -> str:
    """One row of the table."""
    config = Instructions(
        teacher="main", target=10**6, prompt=name, requests_per_round=requests,
        sampling=Sampling(temperature=0.9, max_tokens=160),
    )  # fmt: skip
    seeds, _ = read(SEED_TASKS)
    rounds = Rounds(config, chain(config), seeds, Pool(config.max_rouge_l), InstructionPrompt.load(name))
    for seed in seeds:
        rounds.novelty.add(seed.text)
    asked = prompts(rounds, identity, seed=17, number=0)
    began = time.monotonic()
    said: dict[str, Completion] = {
        c.id: c for c in await asyncio.gather(*(teacher.write(each.request) for each in asked))
    }
    seconds = time.monotonic() - began
    take(asked, said, {}, rounds)
    reasons: dict[str, int] = {}
    for row in rounds.dropped:
        reasons[row.reason] = reasons.get(row.reason, 0) + 1
    kept, tokens = len(rounds.kept), sum(c.output_tokens for c in said.values())
    dropped = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
    for instruction in rounds.kept[:5]:
        print(f"  {name}: {instruction.text}")
    cells = [name, requests, kept, f"{kept / requests:.2f}", f"{tokens / max(1, kept):.0f}", f"{seconds:.0f}", dropped]
    return f"| {' | '.join(map(str, cells))} |"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--model", default="embedded:smollm2-135m-instruct")
    options = parser.parse_args()
    model = resolve(options.model, "--model")
    here = Session("", Path(), gpus=0, threads=os.cpu_count() or 1)
    engine = setup(model.folder(), Engine(max_model_len=1024, enforce_eager=True), here)
    os.environ.update(engine.env)
    teacher = VLLMTeacher(model.digest, ChatTokenizer(str(model.folder())), engine.args)
    identity = TeacherId("main", model.digest)
    rows = [await measure(name, options.requests, teacher, identity) for name in ("numbered", "tagged")]
    teacher.close()
    print("\n| prompt | requests | kept | kept per request | output tokens per kept | seconds | dropped |")
    print("|---|---|---|---|---|---|---|\n" + "\n".join(rows))


if __name__ == "__main__":
    asyncio.run(main())
