"""lm-evaluation-harness: its tasks are loaded, put to a model, and what comes of them becomes our records.

The only file that knows the harness's tasks and results. Importing it imports the harness. It calls `evaluate`, as
`simple_evaluate` lists the machine's packages in a process of its own for every call; the few-shot settings, which that
one makes, are made here. Bars and words of the harness go to a file.
"""

import difflib
import io
import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from datasets.exceptions import DatasetsError
from jinja2 import TemplateError
from lm_eval.api.group import Group
from lm_eval.api.model import LM
from lm_eval.api.task import Task
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from lm_eval.tasks.manager import TaskDict

from pipelines.benchmark.figures import Figure, figure
from pipelines.benchmark.tasks import place_of
from pipelines.core.config import Benchmarks
from pipelines.core.errors import UserError
from pipelines.core.hashing import key_of
from pipelines.core.records import BenchmarkAnswer
from pipelines.core.storage import Folder

LOG = "harness.log"
# What a task's file, its code, or its data can fail with.
_BROKEN = (
    OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, DatasetsError, TemplateError, yaml.YAMLError,
)  # fmt: skip
Loaded = dict[str, TaskDict]  # by the name of a task, or of a group of tasks


def load(config: Benchmarks, seed: int) -> Loaded:
    """The tasks with their data. UserError, in words, for what is not there or is no task."""
    random.seed(seed)  # a task may draw when it is loaded, from the state that all share
    np.random.seed(seed)
    found: Loaded = {}
    for named in config.tasks:
        for item in _roots(_loaded(named)):
            name = item.name if isinstance(item, Group) else item.task_name
            if name in found:
                raise UserError(f"benchmarks.tasks: {named!r} has a task {name!r}, and so has one before it")
            found[name] = _own(TaskManager(include_defaults=False).load([item]))
    return found


def run(
    name: str, tasks: TaskDict, model: LM, who: str, config: Benchmarks, seed: int
) -> tuple[list[BenchmarkAnswer], list[Figure]]:
    """One task or group, put to a model: what it said to each document, and the figures."""
    leaves = tasks["tasks"].values()
    for task in leaves:
        _show_examples(task, config.num_fewshot, seed)
    is_chat = config.chat_template and all(task.OUTPUT_TYPE == "generate_until" for task in leaves)
    results: Any = evaluate(
        model, tasks, limit=config.limit, bootstrap_iters=0, apply_chat_template=is_chat, fewshot_as_multiturn=is_chat
    )
    measured: Mapping[str, Any] = results["results"] | results.get("groups", {})
    is_whole = any(_metric(key) for key in measured.get(name, {}))
    answers = [
        _answer(name if is_whole else task, task, sample, who)
        for task, samples in results["samples"].items()
        for sample in samples
    ]
    return answers, [
        figure(each, *metric, float(value), answers, results["higher_is_better"].get(each, {}).get(metric[0]))
        for each in ([name] if is_whole else results["samples"])
        for key, value in measured[each].items()
        if (metric := _metric(key)) and isinstance(value, Real)
    ]


@contextmanager
def quiet(folder: Folder | None = None) -> Iterator[None]:
    """What the harness says meanwhile is not for the terminal; it goes to a file in this folder, where there is one."""
    said, log = io.StringIO(), logging.getLogger("lm_eval")
    handler = logging.StreamHandler(said)
    log.addHandler(handler)
    passes_on, log.propagate = log.propagate, False  # a started Ray has a handler for all on the terminal
    try:
        with redirect_stderr(said):
            yield
    finally:
        log.removeHandler(handler)
        log.propagate = passes_on
        if folder is not None:
            folder.write_bytes(LOG, said.getvalue().encode())


def _loaded(named: str) -> TaskDict:
    place = place_of(named)
    try:
        return _own(_manager().load([named])) if place is None else _local(place)
    except KeyError as error:
        if place is None and named not in _manager().all_tasks:
            near = difflib.get_close_matches(named, _manager().all_tasks, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "`lm-eval ls tasks` lists what there is"
            raise UserError(f"benchmarks.tasks: the harness has no {named!r}; {hint}") from error
        raise _broken(named, error) from error
    except _BROKEN as error:
        raise _broken(named, error) from error


def _broken(named: str, error: Exception) -> UserError:
    return UserError(f"benchmarks.tasks: {named!r} cannot be loaded: {type(error).__name__}: {error}")


def _local(place: Path) -> TaskDict:
    """A file's task or group, or all tasks of a folder. Data are looked for beside the file that names them."""
    folder = place if place.is_dir() else place.parent
    manager = TaskManager(include_path=folder, include_defaults=False)
    if place.is_file():
        with chdir(folder):
            return _own(manager.load([str(place)]))
    names = manager.all_subtasks
    if not names:
        raise ValueError("none of its YAML files is a task")
    found: list[Any] = []
    for name in names:
        file = manager.task_index[name].yaml_path
        with chdir(file.parent if file else folder):
            found += manager.load([name])["tasks"].values()
    return _own(manager.load(found))


@cache
def _manager() -> TaskManager:
    """All tasks of the harness. Looking through them takes many seconds, so once."""
    return TaskManager()


def _own(found: TaskDict) -> TaskDict:
    return {"tasks": found["tasks"], "groups": found.get("groups", {}), "group_map": found.get("group_map", {})}


def _roots(found: TaskDict) -> list[Group | Task]:
    """Groups that are in no other, and tasks that are in no group."""
    inside = {name for names in found["group_map"].values() for name in names}
    return [item for part in ("groups", "tasks") for name, item in found[part].items() if name not in inside]


def _show_examples(task: Task, number: int | None, seed: int) -> None:
    """A task that says 0 itself means it: its prompt has examples already, or can have none."""
    own = task.get_config("num_fewshot")
    if own != 0:
        task.set_config("num_fewshot", own or 0 if number is None else number)
    task.set_fewshot_seed(seed)


def _metric(key: str) -> tuple[str, str] | None:
    """ "acc,none" -> ("acc", "none"); None for what is no metric."""
    metric, comma, filter = key.partition(",")
    return (metric, filter) if comma and not metric.endswith("_stderr") else None


def _answer(benchmark: str, task: str, sample: Mapping[str, Any], who: str) -> BenchmarkAnswer:
    values = {name: float(sample[name]) for name in sample["metrics"] if isinstance(sample[name], Real)}
    return BenchmarkAnswer(
        key_of("benchmark", who, benchmark, task, sample["doc_id"], sample["filter"]), benchmark, task,
        sample["doc_id"], sample["filter"], who, str(sample["target"]), _said(sample["filtered_resps"]),
        tuple(values), tuple(values.values()),
    )  # fmt: skip


def _said(replies: list[Any]) -> str:
    """What was written; of several scored texts the number of the likeliest, of one how likely it is."""
    first = replies[0]
    if not isinstance(first, tuple):
        return str(first)
    return str(int(np.argmax([logprob for logprob, _ in replies]))) if len(replies) > 1 else f"{first[0]:.4f}"
