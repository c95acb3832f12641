"""What a row costs the driver: seconds, memory, files and store operations of each stage, by how many rows there are.

    .venv/bin/python benchmarks/scaling.py --home FOLDER --rows 10000 100000     # prints a Markdown table

The stages are the product's own, from a file of prompts to examples and soft targets, over local disk. The teacher is
the fake one, in the driver's process: no Ray, so all that is done for a row is done here and counted. Each stage runs in
a process of its own, and its memory is that process's, before the stage and at its highest. A store's operations are
those that an object store would have been asked for; a disk counts them (`Counted`).

With `--home` stages and figures are kept, and the same command goes on where it was. What follows from the figures for
other sizes is in `scaling_paper.py`.
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
from io import BufferedReader
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO, cast

from kept import kept

from pipelines.core import runner, storage
from pipelines.core.builtin import SEED_TASKS
from pipelines.core.disk import Disk
from pipelines.core.objects import READ_AHEAD, _Ranges
from pipelines.core.progress import Progress
from pipelines.core.recipe import Distil, recipe_of
from pipelines.core.stage import Stage
from pipelines.core.storage import Folder
from pipelines.recipes import distil
from serving.faculty import ClusterFaculty

STAGES = ("seeds", "instructions", "held_out", "answers", "examples", "soft_targets")
NEVER = 10**9  # requests, from which on a pool would take over
A_LISTING = 1000  # names that one request tells
MIB = 2**20


@dataclass(frozen=True)
class Seen:
    """One stage of one size."""

    out: int  # rows
    seconds: float
    before: int  # bytes resident
    most: int
    files: int  # of the stage's folder and of what teachers said to it
    size: int  # their bytes
    asked: dict[str, int]  # the store, by operation


class Counted(Disk):
    """A disk that counts what an object store would have been asked for (as `core/objects.py` would ask)."""

    asked: Counter[str] = Counter()

    def exists(self, name: str) -> bool:
        self.asked["HEAD"] += 1
        return super().exists(name)

    def entries(self) -> list[tuple[str, bool]]:
        found = super().entries()
        self.asked["LIST"] += 1 + len(found) // A_LISTING
        return found

    def open(self, name: str) -> BinaryIO:
        self.asked["HEAD"] += 1
        size = (self.path / name).stat().st_size
        return cast(BinaryIO, BufferedReader(_Ranges(cast(Any, self), name, size), READ_AHEAD))

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        self.asked["GET"] += 1
        with (self.path / name).open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def read(self, name: str) -> bytes:
        self.asked["GET"] += 1
        return super().read(name)

    def write(self, name: str, data: bytes) -> None:
        self.asked["PUT"] += 1
        super().write(name, data)

    def create(self, name: str, data: bytes) -> bool:
        self.asked["PUT"] += 1
        return super().create(name, data)

    def remove(self, name: str) -> None:
        self.asked["DELETE"] += 1
        super().remove(name)


def main() -> None:
    args = _arguments()
    with nullcontext(args.home) if args.home else tempfile.TemporaryDirectory() as home:
        print("| stage | rows | seconds | rows/s | driver MiB before | at most | files | bytes per row | ", end="")
        print(" | ".join(("HEAD", "GET", "PUT", "LIST", "DELETE")), "|")
        print(f"|---|{'---:|' * 12}")
        for rows in args.rows:
            for stage in args.stages:
                seen = kept(args.home and f"{home}/seen", f"{stage}{rows}", 0, {}, Seen, lambda: _alone(home, rows, stage))
                print(_line(stage, seen), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="in this order")
    parser.add_argument("--home", help="a folder that keeps what is made")
    return parser.parse_args()


def _alone(home: str, rows: int, stage: str) -> Seen:
    """The stage in a process of its own, whose memory is the stage's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        return alone.submit(_measured, Path(home) / f"{rows}", rows, stage).result()


def _measured(home: Path, rows: int, name: str) -> Seen:
    storage.Disk = Counted  # type: ignore[misc]
    prompts, runs = home / "prompts.jsonl", Folder(str(home / "runs"))
    if not prompts.exists():
        home.mkdir(parents=True, exist_ok=True)
        prompts.write_text("".join(json.dumps({"instruction": text}) + "\n" for text in _prompts(rows)))
    stages = {stage.name: stage for stage in _stages(prompts)}
    whole = [stages[each] for each in STAGES[: STAGES.index(name) + 1]]
    progress, folder = Progress(out=io.StringIO()), runs.child("run")
    runner.run(whole[:-1], runs, folder, progress)  # they are there, and are the stage's inputs
    Counted.asked.clear()
    before, made, began = _resident("VmRSS"), _files(runs), time.monotonic()
    done = runner.run(whole, runs, folder, progress)[-1]
    assert not done.cached, f"{name} of {rows:,} rows is there, and its figures are not"
    seconds, most, asked = time.monotonic() - began, _resident("VmHWM"), dict(Counted.asked)
    new = _files(runs).items() - made.items()
    return Seen(done.done.manifest["rows"], seconds, before, most, len(new), sum(size for _, size in new), asked)


def _stages(prompts: Path) -> list[Stage]:
    recipe = recipe_of({
        "name": "scaling", "method": "distil",
        "teachers": {"main": {"kind": "fake", "model": "embedded:smollm2-135m-instruct", "bulk_from": NEVER}},
        "seeds": {"tasks": str(prompts)},
        "instructions": {"kind": "given"},
        "answers": {"teacher": "main", "max_repetition": 0.9, "filters": ["refusal", "echo", "lines"]},
        "student": {"init": {"kind": "pruned", "teacher": "main", "layers": 29}, "signals": "main",
                    "train": {"losses": {"answer": 1.0, "kd": 1.0}}},
        "evaluate": {"teacher": "main"},
    })  # fmt: skip
    assert isinstance(recipe, Distil)
    return distil.stages(recipe, ClusterFaculty(recipe))


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


def _files(runs: Folder) -> dict[str, int]:
    """Every file's bytes, but for those of locks."""
    root = Path(runs.uri)
    found = (Path(at) / name for at, _, names in os.walk(root) for name in names if not at.endswith("/locks"))
    return {str(path.relative_to(root)): path.stat().st_size for path in found}


def _line(stage: str, seen: Seen) -> str:
    asked = " | ".join(f"{seen.asked.get(each, 0):,}" for each in ("HEAD", "GET", "PUT", "LIST", "DELETE"))
    rate, per_row = seen.out / seen.seconds, seen.size / max(1, seen.out)
    memory = f"{seen.before / MIB:,.0f} | {seen.most / MIB:,.0f}"
    return (
        f"| {stage} | {seen.out:,} | {seen.seconds:,.1f} | {rate:,.0f} | {memory} | {seen.files:,} | {per_row:,.0f} | "
        f"{asked} |"
    )


if __name__ == "__main__":
    main()
