"""What a row costs the driver: seconds, memory, files and store operations of each stage, by how many rows there are.

    .venv/bin/python benchmarks/scaling.py --home FOLDER --rows 10000 100000     # prints a Markdown table

The stages are the product's own, from a file of prompts to examples and soft targets, on local disk. The teacher is the
fake one, in the driver's process: no Ray, so all that is done for a row is done here and counted. Below them stands
what others hold of all rows: each worker of a pool of the ledger, each rank of a training of its input. Every line is
measured in a process of its own; memory is that process's, before and at its highest. Files and bytes are those that
came, in the ledger too; operations are what an object store would have been asked for (`counted_disk.py`).

With `--home` stages and figures are kept, and the same command goes on where it was. `docs/scaling.md` says what
follows for other sizes.
"""

import argparse
import io
import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
from counted_disk import OPERATIONS, CountedDisk
from kept import kept

from pipelines.core import runner, storage
from pipelines.core.builtin import SEED_TASKS
from pipelines.core.parts import rows_of
from pipelines.core.progress import Progress
from pipelines.core.recipe import Distil, recipe_of
from pipelines.core.records import Completion, SoftTargets, TrainExample
from pipelines.core.runner import Finished
from pipelines.core.storage import Folder
from pipelines.generate.ledger import Ledger
from pipelines.recipes import distil
from serving.faculty import ClusterFaculty

STAGES = ("seeds", "instructions", "held_out", "answers", "examples", "soft_targets")
LEDGER, EXAMPLES, SIGNALS = HELD = ("ledger index", "examples in a rank", "signals in a rank")
HELD_OUT = 32
NEVER = 10**9  # requests, from which on a pool would take over
MIB = 2**20


@dataclass(frozen=True)
class Seen:
    """One line."""

    seconds: float
    cpu_s: float
    before: int  # bytes resident
    most: int
    files: int
    size: int  # their bytes
    asked: dict[str, int]  # the store, by operation


def main() -> None:
    args = _arguments()
    print("| what | rows | seconds | CPU ms per row | MiB before | at most | files | bytes per row | ", end="")
    print(" | ".join(OPERATIONS), "|")
    print(f"|---|{'---:|' * (7 + len(OPERATIONS))}")
    with nullcontext(args.home) if args.home else tempfile.TemporaryDirectory() as home:
        for rows in args.rows:
            for what in args.what:
                measure = partial(_alone, Path(home) / f"{rows}", rows, what)
                print(_line(what, rows, kept(f"{home}/seen", f"{what} {rows}", 0, {}, Seen, measure)), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000])
    every = [*STAGES, *HELD]
    parser.add_argument("--what", nargs="+", choices=every, default=every, help="in this order")
    parser.add_argument("--home", help="a folder that keeps what is made and measured")
    return parser.parse_args()


def _alone(home: Path, rows: int, what: str) -> Seen:
    """Measured in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        return alone.submit(_measured, home, rows, what).result()


def _measured(home: Path, rows: int, what: str) -> Seen:
    storage.Disk = CountedDisk  # type: ignore[misc]
    pa.array([""])  # imports pandas: once for a process, and no row's cost
    trial = Trial(home, rows)
    if what in HELD:
        hold = partial(trial.held, what)
    else:
        trial.run(STAGES[: STAGES.index(what)])  # they are there; now they are also looked at
        hold = partial(trial.run, STAGES[: STAGES.index(what) + 1])
    CountedDisk.asked.clear()
    before, made, began, cpu_s = _resident("VmRSS"), _files(home), time.monotonic(), time.process_time()
    held = hold()
    seconds, cpu_s = time.monotonic() - began, time.process_time() - cpu_s
    assert held, f"{what} was there, and its figures are not"
    most, asked, new = _resident("VmHWM"), dict(Counter(CountedDisk.asked)), _files(home).items() - made.items()
    return Seen(seconds, cpu_s, before, most, len(new), sum(size for _, size in new), asked)


class Trial:
    """The stages of one size, in a folder."""

    def __init__(self, home: Path, rows: int) -> None:
        home.mkdir(parents=True, exist_ok=True)
        prompts = home / "prompts.jsonl"
        if not prompts.exists():
            prompts.write_text("".join(json.dumps({"instruction": text}) + "\n" for text in _prompts(rows)))
        recipe = _recipe(prompts)
        self._faculty = ClusterFaculty(recipe)
        self._stages = {stage.name: stage for stage in distil.stages(recipe, self._faculty)}
        self._runs = Folder(str(home / "runs"))

    def run(self, names: tuple[str, ...]) -> list[Finished]:
        """Those that were not there."""
        stages = [self._stages[name] for name in names]
        finished = runner.run(stages, self._runs, self._runs.child("run"), Progress(out=io.StringIO()))
        return [each for each in finished if not each.cached]

    def held(self, what: str) -> Any:
        if what == LEDGER:
            ledger = Ledger(self._runs, self._faculty.identity("main"), Completion)
            ledger.find(["none of them"])
            return ledger
        name, kind = {EXAMPLES: ("examples", TrainExample), SIGNALS: ("soft_targets", SoftTargets)}[what]
        return list(rows_of(self._runs.child(self._stages[name].folder_name), kind))


def _recipe(prompts: Path) -> Distil:
    recipe = recipe_of({
        "name": "scaling", "method": "distil",
        "teachers": {"main": {"kind": "fake", "model": "embedded:smollm2-135m-instruct", "bulk_from": NEVER}},
        "seeds": {"tasks": str(prompts), "held_out": HELD_OUT},
        "instructions": {"kind": "given"},
        "answers": {"teacher": "main", "max_repetition": 0.9, "filters": ["refusal", "echo", "lines"]},
        "student": {"init": {"kind": "pruned", "teacher": "main", "layers": 29}, "signals": "main",
                    "train": {"losses": {"answer": 1.0, "kd": 1.0}}},
        "evaluate": {"teacher": "main"},
    })  # fmt: skip
    assert isinstance(recipe, Distil)
    return recipe


def _prompts(rows: int) -> Iterator[str]:
    """Tasks of twenty words of the built-in ones' vocabulary; hardly any is like another."""
    tasks = [json.loads(line)["instruction"] for line in SEED_TASKS.read_text().splitlines()]
    words = sorted({word for task in tasks for word in task.split()})
    chance = random.Random("prompts")
    for _ in range(rows):
        yield " ".join(chance.choices(words, k=20))


def _resident(what: str) -> int:
    """Bytes of this process's memory: VmRSS now, VmHWM at its highest so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


def _files(home: Path) -> dict[Path, int]:
    """Every file's bytes, but for those of locks."""
    found = (Path(at) / name for at, _, names in os.walk(home) for name in names if not at.endswith("/locks"))
    return {path: path.stat().st_size for path in found}


def _line(what: str, rows: int, seen: Seen) -> str:
    spent = f"{seen.seconds:,.0f} | {seen.cpu_s / rows * 1e3:.3f}"
    memory = f"{seen.before / MIB:,.0f} | {seen.most / MIB:,.0f}"
    asked = " | ".join(f"{seen.asked.get(each, 0):,}" for each in OPERATIONS)
    return f"| {what} | {rows:,} | {spent} | {memory} | {seen.files:,} | {seen.size / rows:,.0f} | {asked} |"


if __name__ == "__main__":
    main()
