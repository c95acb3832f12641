"""What is served, under load: beside the bare vLLM server in one run, and while one of its replicas is killed.

    .venv/bin/python benchmarks/serving_load.py [--requests 96] [--clients 16] [--max-tokens 128] [--rounds 2]
    .venv/bin/python benchmarks/serving_load.py --kill [--requests 96] [--clients 16]

The embedded model, with the same engine arguments and process environment on both sides: ours behind the gate with a
key, as `tutelage serve` has it, and vLLM's own server. One after the other, `--rounds` times; each first answers a
request of every client, which is not counted. Prints a Markdown table; the last column is ours over vLLM's tokens per
second in the same round. With `--kill` two replicas answer, and one is killed with SIGKILL when a third of the answers
have ended; the table tells what became of every request.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2

from cluster import engines
from cluster.engines import Replicas
from cluster.models import resolve
from cluster.session import Session, session
from pipelines.core.builtin import SEED_TASKS
from pipelines.core.config import Engine
from serving import keys
from serving.door import HOST, Door
from serving.endpoints import Endpoints, held_port
from serving.load import Got, Load, put, told
from serving.served import Served

MODEL = "embedded:smollm2-135m-instruct"
ENGINE = Engine(dtype="bfloat16", max_model_len=2048, max_num_seqs=64, enforce_eager=True, kv_cache_gib=1)
NAME = "student"


def main() -> None:
    args = _arguments()
    if args.kill:
        _killed(args)
        return
    print("| round | server | tokens/s | first word p50, p95 (s) | answer p50, p95 (s) | whole | to vLLM's |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for number in range(args.rounds):
        rates = {}
        for server in (_vllm, _ours):
            with server() as (url, key):
                figures = told(*asyncio.run(_loaded(_load(args, url, key))))
            rates[server] = figures["tokens_per_s"]
            name = "vLLM" if server is _vllm else "tutelage"
            share = rates[server] / rates[_vllm]
            times = " | ".join(f"{p50:.2f}, {p95:.2f}" for p50, p95 in (figures["first_word_s"], figures["answer_s"]))
            whole = f"{figures['outcomes'].get('whole', 0)} of {args.requests}"
            print(f"| {number + 1} | {name} | {rates[server]:,.0f} | {times} | {whole} | {share:.3f} |", flush=True)


def _killed(args: argparse.Namespace) -> None:
    ended: list[Got] = []
    pids: list[int] = []

    def each(got: Got) -> None:
        ended.append(got)
        if len(ended) == args.requests // 3:
            pids.append(_replica_pid())
            os.kill(pids[0], signal.SIGKILL)

    with _ours(Replicas(2, 2)) as (url, key):
        figures = told(*asyncio.run(_loaded(_load(args, url, key), each)))
    assert pids, "no replica was killed"
    print("| requests | whole | broken off, with words | refused, with words | lost |\n|---:|---:|---:|---:|---:|")
    counts = [figures["outcomes"].get(name, 0) for name in ("whole", "broken off", "refused", "lost")]
    print(f"| {args.requests} | {' | '.join(map(str, counts))} |")
    print(json.dumps(figures["why"], indent=1))


async def _loaded(load: Load, each: Callable[[Got], None] = lambda _: None) -> tuple[list[Got], float]:
    await put(replace(load, requests=load.clients))  # what a first request costs is not asked here
    return await put(load, each)


def _load(args: argparse.Namespace, url: str, key: str) -> Load:
    prompts = [json.loads(line)["instruction"] for line in SEED_TASKS.read_text(encoding="utf-8").splitlines()]
    return Load(url, NAME, key, prompts, args.requests, args.clients, args.max_tokens)


@contextmanager
def _ours(replicas: Replicas = engines.ONE) -> Iterator[tuple[str, str]]:
    """(base URL, key) of the project's own endpoints."""
    model = resolve(MODEL, "model")
    with tempfile.TemporaryDirectory() as folder, session() as live, held_port(None) as port:
        file = Path(folder) / "keys.json"
        key = keys.create(file, "load")
        with closing(Endpoints(live, port, Door(keys=file))) as endpoints:
            served = Served(NAME, model.folder(), model.digest, ENGINE, replicas)
            yield endpoints.up([served], at_root=True), key


@contextmanager
def _vllm() -> Iterator[tuple[str, str]]:
    """The same of vLLM's server, which is no part of a cluster."""
    folder = resolve(MODEL, "model").folder()
    here = Session("", Path(), gpus=_gpus(), threads=os.cpu_count() or 1)
    replica = engines.setup(folder, ENGINE, here)
    with held_port(None) as port:
        pass  # vLLM shares its port with nobody, not even with who holds it
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        given = {**replica.args, "served_model_name": NAME, "host": HOST, "port": port}
        flags = _flags(given | {"distributed_executor_backend": "mp"})  # as Ray Serve LLM has it on CPUs
        # Not `vllm serve`: it asks for the version of a package `vllm`, which the CPU build is not called.
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *flags]
        process = subprocess.Popen(command, env=os.environ | replica.env, stdout=log, stderr=log)
        try:
            _wait_for(f"http://{HOST}:{port}/health", process, Path(log.name))
            yield f"http://{HOST}:{port}/v1", "none"
        finally:
            process.terminate()
            process.wait(timeout=60)


def _flags(args: dict[str, Any]) -> list[str]:
    """Engine arguments as vLLM's command line has them."""
    flags = []
    for name, value in args.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            flags.append(f"--{flag}={value}")
    return flags


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _wait_for(url: str, process: subprocess.Popen[Any], log: Path) -> None:
    while process.poll() is None:
        try:
            if httpx2.get(url).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.5)
    raise SystemExit(f"vLLM's server did not start:\n{log.read_text()[-4000:]}")


def _replica_pid() -> int:
    """Of a process that holds an engine. Ray's state is asked in a thread, as a loop runs in this one."""
    found: list[int] = []

    def look() -> None:
        import ray
        from ray.util.state import list_actors

        here = ray.get_runtime_context().gcs_address  # unasked, the machine's latest cluster would answer
        alive = list_actors(address=here, filters=[("state", "=", "ALIVE")])
        found.extend(int(actor.pid) for actor in alive if "EngineServer" in actor.class_name)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found[0]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--kill", action="store_true", help="a replica, under load")
    return parser.parse_args()


if __name__ == "__main__":
    main()
