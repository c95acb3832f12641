"""What the pool itself costs: rows per second and actor, and the driver's memory. Prints Markdown tables.

    .venv/bin/python benchmarks/pool_overhead.py                     # some minutes
    .venv/bin/python benchmarks/pool_overhead.py --rows-per-actor 10000 --rows 10000 100000 1000000

The teacher is the fake one with a fixed latency, in real actors under the real Ray Data pool with ledger, journal and
parts on local disk. The first table holds the rows per actor and adds actors, the second holds the actors (the last of
`--actors`) and adds rows. Flat is good: then only the engines set the pace.

The latency keeps this machine's cores from being what is measured: by what a row costs here in CPU seconds, the most
actors would keep them busy for `--busy` of the time. It is the same for all lines, but for those of so many rows that
the pool cuts larger shards: as an actor then has more rows under way, it is longer by as much, and no line could be
faster than another. How busy they really were, with all
that ran here, stands in each line; one above 60 % says nothing of the pool. Rates and shares are of the time between
the first and the last committed shard; memory is the driver's own, before and at its highest.
"""

import argparse
import asyncio
import io
import os
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import psutil

from cluster.models import resolve
from cluster.session import session
from pipelines.core import parts
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Answers, Pool, Sampling
from pipelines.core.progress import Progress
from pipelines.core.records import Instruction
from pipelines.core.storage import Folder
from pipelines.generate.answers import AnswerWork
from pipelines.generate.fake import FakeTeacher
from pipelines.generate.pool import SHARDS_AT_ONCE, run_here, run_on_pool
from pipelines.generate.teacher import TeacherId
from pipelines.generate.work import ShardRun

TEACHER = TeacherId("main", "fixed-latency")
AT_ONCE = SHARDS_AT_ONCE * parts.SHARD_ROWS
CALIBRATION_ROWS = 4 * AT_ONCE
MIB = 2**20


def main() -> None:
    args = _arguments()
    tokenizer = ChatTokenizer(str(resolve(args.model, "--model").folder()))
    most = max(args.actors)
    latency = args.latency if args.latency is not None else _latency(tokenizer, most, args.busy)
    print(f"latency {latency:.2f} s: at most {AT_ONCE / latency:.1f} rows/s per actor; {os.cpu_count()} cores\n")
    with session():
        print("| actors | rows | seconds | rows/s per actor | driver MiB before | at most | cores busy |")
        print("|---:|---:|---:|---:|---:|---:|---:|")
        for actors in args.actors:
            print(_measured(tokenizer, latency, actors, actors * args.rows_per_actor), flush=True)
        for rows in args.rows:
            print(_measured(tokenizer, latency, most, rows), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rows-per-actor", type=int, default=1_000, help="the full measurement takes 10,000")
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000], help="the full one takes 10^4, 10^5 and 10^6")
    parser.add_argument("--latency", type=float, help="seconds per request, instead of the one found here")
    parser.add_argument("--busy", type=float, default=0.4, help="share of the cores that is aimed at")
    parser.add_argument("--model", default="embedded:smollm2-135m-instruct", help="whose tokenizer is used")
    return parser.parse_args()


def _latency(tokenizer: ChatTokenizer, actors: int, busy: float) -> float:
    """What keeps the cores at `busy` with so many actors, each with as many rows under way as it takes."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:  # actors may still note their seconds
        run = _prepared(Folder(home), CALIBRATION_ROWS)
        began = time.process_time()
        asyncio.run(run_here(run, FakeTeacher(TEACHER.digest, tokenizer), Progress(out=io.StringIO())))
        cpu_s = (time.process_time() - began) / CALIBRATION_ROWS
    cores = os.cpu_count() or 1
    return max(1.0, actors * AT_ONCE * cpu_s / (busy * cores))


def _measured(tokenizer: ChatTokenizer, latency: float, actors: int, rows: int) -> str:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:  # actors may still note their seconds
        run, progress = _prepared(Folder(home), rows), Timed(out=io.StringIO())
        larger = (run.shards[0].stop - run.shards[0].start) / parts.SHARD_ROWS
        make = partial(FakeTeacher, TEACHER.digest, tokenizer, latency * larger)
        with _memory() as seen:
            run_on_pool(run, make, Pool(min=actors, max=actors), {"num_cpus": 0.01}, progress, watchdog_s=600)
        busy, seconds = psutil.cpu_percent() / 100, time.monotonic() - progress.began
        rate = progress.rows / seconds / actors
    before, most = seen[0] / MIB, max(seen) / MIB
    return f"| {actors} | {rows:,} | {seconds:.0f} | {rate:.1f} | {before:.0f} | {most:.0f} | {busy:.0%} |"


@dataclass
class Timed(Progress):
    """Counts rows and the cores' time from the first committed shard on; that shard's rows were begun before."""

    began: float = 0.0
    rows: int = 0

    def advance(self, rows: int, tokens: int = 0) -> None:
        if not self.began:
            psutil.cpu_percent()  # from here
            self.began = time.monotonic()
        else:
            self.rows += rows


def _prepared(runs: Folder, rows: int) -> ShardRun:
    """A stage of answers to `rows` instructions; they are written part by part, to leave nothing in memory."""
    source = runs.child("source")
    for number, start in enumerate(range(0, rows, parts.PART_ROWS)):
        part = list(_tasks(range(start, min(start + parts.PART_ROWS, rows))))
        parts.write_shard(source, parts.Shard(number, "", 0, 0), part, Instruction, [])
    work = AnswerWork("answers", Answers(teacher="main", sampling=Sampling(max_tokens=64)), TEACHER)
    shards = tuple(parts.cut(source))
    return ShardRun(work, "answers", TEACHER, source, runs.child("answers"), runs, shards)


def _tasks(numbers: Iterable[int]) -> Iterator[Instruction]:
    for n in numbers:
        yield Instruction(f"i{n}", f"List {n} rivers.", "", "seed", "train", (), "", "")


@contextmanager
def _memory() -> Iterator[list[int]]:
    """This process's resident bytes, sampled while what is inside runs."""
    me, ended = psutil.Process(), threading.Event()
    seen = [me.memory_info().rss]

    def sample() -> None:
        while not ended.wait(0.5):
            seen.append(me.memory_info().rss)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


if __name__ == "__main__":
    main()
