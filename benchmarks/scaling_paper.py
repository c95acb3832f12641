"""What a run of so many rows asks for, on paper: the table of `docs/scaling.md`, printed as Markdown.

    .venv/bin/python benchmarks/scaling_paper.py [--rows 1000000 100000000] [--answer 400] [--replicas 64] ...

`Assumed` is the reader's to replace, by options of the same names; `Measured` is what `scaling.py` and
`record_bytes.py` found, and grows in proportion from there. Speeds are those of `tutelage plan`.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, fields

from pipelines.core.parts import PART_ROWS, shard_rows
from pipelines.generate.asking import FLUSH_ROWS
from pipelines.runs.estimates import TRAINING, WRITING

HOUR = 3600.0
SCALES = ((1e12, "·10¹²", "T"), (1e9, "·10⁹", "G"), (1e6, "·10⁶", "M"), (1e3, "·10³", "k"), (1.0, "", ""))
Line = tuple[str, str, float, str]  # what, its formula, its value, its unit


@dataclass(frozen=True)
class Assumed:
    """A run in which a teacher answers each of N given prompts, scores the answer, and a student learns both."""

    prompt: int = 100  # p: tokens of a row's prompt
    answer: int = 400  # a: and of its answer
    teacher: float = 70e9  # P: parameters
    student: float = 1e9  # S
    epochs: int = 2  # E
    gpus: int = 256  # of all the teacher's engines; of an engine of 4, 64 engines
    wait_s: float = 0.03  # of one request to the store
    moved: float = 40.0  # m: bytes that a probe's step moves for each of the student's parameters
    bandwidth: float = 2e12  # b: bytes a second of a GPU's memory


@dataclass(frozen=True)
class Measured:
    """Figures of 2026-11-28 (`benchmarks/RESULTS.md`), each for one row if nothing else is said."""

    # stored bytes, with a prompt of 100 tokens, and of each token of the answer; signals at k = 64
    prompts: float = 176.0  # seeds and instructions
    completion: tuple[float, float] = (893.0, 4.6)
    answer: tuple[float, float] = (227.0, 1.3)
    example: tuple[float, float] = (163.0, 1.5)
    signal: tuple[float, float] = (343.0, 545.6)  # in the ledger and in the stage
    # the driver
    row_cpu_s: float = 0.15e-3  # one core, all stages that ask nobody
    token_cpu_s: float = 8e-6  # and for each of an example's tokens
    seeds_held: float = 640.0
    births_held: float = 410.0
    shard_held: float = 4160.0  # each shard, where a pool does the work
    # others, each for itself
    index_held: float = 240.0  # a pool's worker, of what was there when it started
    token_held: float = 82.0  # a rank, of each token of an example
    signal_held: float = 360.0  # a rank, of each scored token: by layout, 320 bytes and a position


def lines(rows: int, run: Assumed, seen: Measured) -> Iterator[Line]:
    """All for N rows."""
    yield from _tokens_and_hours(rows, run)
    yield from _stored(rows, run, seen)
    yield from _held(rows, run, seen)


def _tokens_and_hours(rows: int, run: Assumed) -> Iterator[Line]:
    p, a, tokens = run.prompt, run.answer, run.prompt + run.answer
    written = 2 * run.teacher * rows * a / WRITING / HOUR
    read = 2 * run.teacher * rows * p / TRAINING / HOUR
    scored = 2 * run.teacher * rows * tokens / WRITING / HOUR
    step = 6 * run.student * tokens / TRAINING
    yield "teacher: tokens written", "N·a", rows * a, ""
    yield "teacher: tokens read and scored", "N·p + N·(p+a)", rows * (p + tokens), ""
    yield "teacher: writing", "2·P·N·a / w", written, "GPU-hours"
    yield "teacher: reading prompts", "2·P·N·p / t", read, "GPU-hours"
    yield "teacher: scoring", "2·P·N·(p+a) / w", scored, "GPU-hours"
    yield "teacher: all of it on G GPUs", "sum / G", (written + read + scored) / run.gpus, "hours"
    yield "student: tokens trained on", "E·N·(p+a)", run.epochs * rows * tokens, ""
    yield "student: training", "6·S·E·N·(p+a) / t", run.epochs * rows * step / HOUR, "GPU-hours"
    probe = step + run.moved * run.student / run.bandwidth
    yield "student: each row probed once", "N·(6·S·(p+a) / t + m·S / b)", rows * probe / HOUR, "GPU-hours"


def _stored(rows: int, run: Assumed, seen: Measured) -> Iterator[Line]:
    def size(record: tuple[float, float]) -> float:
        return rows * (record[0] + record[1] * run.answer)

    text = rows * seen.prompts + size(seen.completion) + size(seen.answer) + size(seen.example)
    yield "store: prompts, replies, answers, examples", "N·(1,459 + 7.4·a)", text, "bytes"
    yield "store: signals", "N·(343 + 546·a)", size(seen.signal), "bytes"
    parts, shards, said = rows / PART_ROWS, rows / shard_rows(rows), rows / FLUSH_ROWS
    yield "store: objects and PUTs, ledger", "2·N/8", 2 * said, ""
    yield "store: objects and PUTs, stages", "3·N/256 + 2·N/s", 3 * parts + 2 * shards, ""
    yield "store: GETs", "9·N/256 + 7·N/s", 9 * parts + 7 * shards, ""
    yield "store: HEADs", "5·N/256 + 6·N/s", 5 * parts + 6 * shards, ""
    yield "store: LISTs of a ledger, each worker", "N/8 / 1,000", said / 1000, ""
    yield "store: DELETEs", "3·N/256 + 2·N/s", 3 * parts + 2 * shards, ""
    waits = (10.6 * parts + 1.5 * shards) * run.wait_s / HOUR
    yield "driver: requests one after another", "(10.6·N/256 + 1.5·N/s)·r", waits, "hours"


def _held(rows: int, run: Assumed, seen: Measured) -> Iterator[Line]:
    tokens = run.prompt + run.answer
    busy = rows * (seen.row_cpu_s + seen.token_cpu_s * tokens) / HOUR
    yield "driver: one core, stages that ask nobody", "N·(150 + 8·(p+a)) µs", busy, "hours"
    yield "driver: memory of `seeds`", f"{seen.seeds_held:.0f}·N", rows * seen.seeds_held, "bytes"
    yield "driver: memory of `examples`", f"{seen.births_held:.0f}·N", rows * seen.births_held, "bytes"
    shards = rows / shard_rows(rows)
    yield "driver: memory of a pool's shards", f"{seen.shard_held:,.0f}·N/s", seen.shard_held * shards, "bytes"
    yield "each worker of a pool: ledger index", f"{seen.index_held:.0f}·N", rows * seen.index_held, "bytes"
    yield (
        "each rank of a training: examples",
        f"{seen.token_held:.0f}·N·(p+a)",
        rows * tokens * seen.token_held,
        "bytes",
    )
    yield (
        "each rank of a training: signals",
        f"{seen.signal_held:.0f}·N·a",
        rows * run.answer * seen.signal_held,
        "bytes",
    )


def table(sizes: list[int], run: Assumed, seen: Measured) -> str:
    columns = [list(lines(rows, run, seen)) for rows in sizes]
    head = ["| what | formula |", *(f" N = {rows:,} |" for rows in sizes)]
    rows = [
        " | ".join([f"| {same[0][0]}", same[0][1], *(_told(value, unit) for *_, value, unit in same)]) + " |"
        for same in zip(*columns, strict=True)
    ]
    return "\n".join(["".join(head), f"|---|---|{'---:|' * len(sizes)}", *rows])


def _told(value: float, unit: str) -> str:
    """Two digits that count: the rest is not known."""
    scale = next((each for each in SCALES if value >= each[0]), SCALES[-1]) if unit in ("", "bytes") else SCALES[-1]
    size, power, prefix = scale
    shown = value / size
    digits = f"{shown:.2g}" if shown < 100 else f"{float(f'{shown:.2g}'):,.0f}"
    return f"{digits}{power} {unit}".strip() if unit != "bytes" else f"{digits} {prefix}B"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**6, 10**8])
    for field in fields(Assumed):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    args = parser.parse_args()
    run = Assumed(**{field.name: getattr(args, field.name) for field in fields(Assumed)})
    print(table(args.rows, run, Measured()))


if __name__ == "__main__":
    main()
