"""Seed tasks: read, checked line by line, and split before a teacher sees any of them.

Knows Self-Instruct's seed format ({instruction, instances: [{input, output}], is_classification}, JSON lines), and
the folders that `tutelage import` makes of other formats. A bad line becomes a Dropped row with its line number; the
good ones go on. The held-out tasks are chosen here, by the recipe's seed, so nothing that descends from them can
reach training.
"""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.core.builtin import SEED_TASKS
from pipelines.core.config import Seeds
from pipelines.core.errors import UserError
from pipelines.core.hashing import file_digest, key_of
from pipelines.core.parts import summary, write_rows
from pipelines.core.plugins import load_function
from pipelines.core.records import Dropped, Instruction, TaskType
from pipelines.core.stage import Outcome, StageRun
from pipelines.formats.folder import is_imported, open_imported
from pipelines.generate.novelty import Pool

STAGE = "seeds"


def seed_file(config: Seeds) -> Path:
    """The seed tasks' file, or imported folder. UserError where there is none."""
    path = SEED_TASKS if config.tasks == "builtin" else Path(config.tasks).expanduser()
    if path.is_dir() and is_imported(str(path)):
        return path
    if not path.is_file():
        raise UserError(
            f"seeds.tasks: there is no file {config.tasks!r}; give a JSON lines file, a "
            "folder that `tutelage import` made, or 'builtin'"
        )
    if path.stat().st_size == 0:
        raise UserError(f"seeds.tasks: the file {config.tasks!r} is empty")
    return path


def content_key(config: Seeds) -> dict[str, str]:
    """What of the seed tasks enters the stage's key."""
    path = seed_file(config)
    return {
        "tasks": open_imported(str(path))[0]["digest"] if path.is_dir() else file_digest(path),
        "reader": load_function(config.reader).digest if config.reader else "",
    }


def run(config: Seeds, recipe_seed: int, max_rouge_l: float, run: StageRun) -> Outcome:
    """Read the tasks and split them. UserError where too few good ones are left."""
    path = seed_file(config)
    good, dropped = read(path, config.reader)
    if len(good) < config.held_out + 1:
        raise UserError(
            f"seeds.tasks: {path.name} has {len(good)} good tasks ({len(dropped)} dropped), too few to hold "
            f"{config.held_out} out; lower seeds.held_out or add tasks"
        )
    kept, alike = split(good, config.held_out, recipe_seed, max_rouge_l)
    write_rows(run.folder, kept, Instruction, [*dropped, *alike])
    rows, digest, reasons = summary(run.folder, Instruction)
    return Outcome(rows, digest, reasons, facts={"held_out": config.held_out, "lines": len(good) + len(dropped)})


def read(path: Path, reader: str | None = None) -> tuple[list[Instruction], list[Dropped]]:
    """All good tasks in the file's order, and what was dropped with its line and reason."""
    good: dict[str, Instruction] = {}
    dropped: list[Dropped] = []
    lines = _imported if path.is_dir() else _lines
    tasks = enumerate(load_function(reader).call(path), 1) if reader else lines(path)
    for where, task in tasks:
        instruction, reason = _parse(task)
        if instruction is not None and instruction.id in good:
            instruction, reason = None, "duplicate"
        if instruction is not None:
            good[instruction.id] = instruction
            continue
        shown = json.dumps(task, ensure_ascii=False, default=str)[:500]
        text = shown.encode("utf-8", "replace").decode()
        id = key_of(STAGE, str(where), text)
        dropped.append(Dropped(id, STAGE, reason.split(":")[0], text, f"{path.name}:{where}: {reason}"))
    return list(good.values()), dropped


def split(
    tasks: list[Instruction], held_out: int, seed: int, max_rouge_l: float
) -> tuple[list[Instruction], list[Dropped]]:
    """Choose the held-out tasks; a training task too like one of them is dropped, so the sets are disjoint."""
    chosen = {t.id for t in random.Random(f"held out {seed}").sample(sorted(tasks, key=lambda t: t.id), held_out)}
    apart = Pool(max_rouge_l)
    for task in tasks:
        if task.id in chosen:
            apart.add(task.text)
    kept: list[Instruction] = []
    dropped: list[Dropped] = []
    for task in tasks:
        if task.id in chosen:
            kept.append(replace(task, split="held_out"))
        elif (near := apart.nearest(task.text)) is not None:
            detail = f"ROUGE-L {near.score:.2f} with the held-out task {near.text!r}"
            dropped.append(Dropped(task.id, STAGE, "like a held-out task", task.text, detail))
        else:
            kept.append(task)
    return kept, dropped


class _NotJSON(str):
    """A line that could not be read, as its error's words."""


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number from 1, what the line holds)."""
    for number, raw in enumerate(path.read_bytes().splitlines(), 1):
        if not raw.strip():
            continue
        try:
            yield number, json.loads(raw)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            yield number, _NotJSON(error)


def _imported(folder: Path) -> Iterator[tuple[int, Any]]:
    """(row from 1, a task of one question and one answer, or the messages of what is none)."""
    for number, row in enumerate(open_imported(str(folder))[1], 1):
        if row.system or len(row.turns) > 2:
            yield number, row.messages()
        else:
            instruction, output = row.turns
            yield number, {"instruction": instruction, "instances": [{"input": row.input, "output": output}]}


def _parse(task: Any) -> tuple[Instruction | None, str]:
    """The task as an Instruction, or the reason why it is none (what follows a colon is not counted by)."""
    if isinstance(task, _NotJSON):
        return None, f"not JSON: {task}"
    if not isinstance(task, dict):
        return None, "not a task: an object with an instruction is expected"
    text = task.get("instruction")
    if not isinstance(text, str) or not text.strip():
        return None, "no instruction"
    instances = task.get("instances", [])
    if not _are_instances(instances):
        return None, "bad instances: a list of {input, output} texts is expected"
    first = instances[0] if instances else {"input": "", "output": ""}
    text, input, output = " ".join(text.split()), first["input"].strip(), first["output"].strip()
    try:
        f"{text}{input}{output}".encode()
    except UnicodeEncodeError:
        return None, "bad text: half a character"
    id = Instruction.make_id(text, input)
    return Instruction(id, text, input, "seed", "train", (), "", output, "", _task_type(task)), ""


def _task_type(task: dict[str, Any]) -> TaskType:
    """As the file says it; a file need not."""
    said = task.get("is_classification")
    return ("classification" if said else "generation") if isinstance(said, bool) else "unknown"


def _are_instances(value: Any) -> bool:
    return (
        isinstance(value, Iterable)
        and not isinstance(value, str | dict)
        and all(
            isinstance(i, dict) and isinstance(i.get("input"), str) and isinstance(i.get("output"), str) for i in value
        )
    )
