"""The student's first weights: the teacher with layers removed, those left refitted; a given model; or random ones.

Knows how these stages are placed on the cluster and what their manifests say. The search for layers is in `prune.py`,
the least squares in `refit.py`. Output: `<stage>/model`, a Hugging Face folder.
"""

import json
import shutil
from collections.abc import Callable
from heapq import nsmallest
from pathlib import Path
from typing import Any

from cluster.board import Watch
from cluster.models import Model
from cluster.placement import alone
from cluster.scratch import scratch
from cluster.session import Session
from pipelines.core.config import PrunedStudent, RandomStudent, Refit
from pipelines.core.parts import rows_of
from pipelines.core.records import TrainExample
from pipelines.core.stage import Done, Outcome, Stage, StageRun
from pipelines.train.job import MODEL
from pipelines.train.student import budget_ends_only_undone, copy_tokenizer, folder_digest


def run_prune(config: PrunedStudent, teacher: Path, open_session: Callable[[], Session], run: StageRun) -> Outcome:
    """Remove layers from the teacher by measured harm."""
    layers = _layers_of(teacher)
    run.progress.begin("student_init", layers - config.layers_left(layers), unit="layers")
    measured = _drawn(run.inputs["examples"], config.calibration_rows)
    return _in_a_worker(_prune, (config, teacher, measured), teacher, open_session, run)


def run_refit(
    config: Refit, pruned: PrunedStudent, teacher: Path, open_session: Callable[[], Session], run: StageRun
) -> Outcome:
    """Refit a pruned student on rows that the search for layers did not measure."""
    run.progress.begin("refit", pruned.layers_left(_layers_of(teacher)), unit="layers")
    rows = _drawn(run.inputs["examples"], pruned.calibration_rows + config.rows)
    gone = run.inputs["init"].manifest["facts"]["removed_layers"]
    return _in_a_worker(_refit, (config, pruned, teacher, rows, gone), teacher, open_session, run)


def run_random(
    config: RandomStudent, teacher: Path, seed: int, open_session: Callable[[], Session], run: StageRun
) -> Outcome:
    """Draw weights for a model of the teacher's family, in other sizes."""
    run.progress.begin("student_init", 1, unit="models")
    return _in_a_worker(_draw, (config, teacher, seed), teacher, open_session, run)


def given(model: Model) -> Stage:
    """The stage of a student that is there already: its manifest says where, and nothing is copied."""

    def run(_: StageRun) -> Outcome:
        return Outcome(rows=1, digest=model.digest, facts={"model": model.address()})

    return Stage("student_init", 2, {"model": model.digest}, {}, run)


def _in_a_worker(
    make: Callable[..., tuple[Any, dict[str, Any]]],
    arguments: tuple[Any, ...],
    teacher: Path,
    open_session: Callable[[], Session],
    run: StageRun,
) -> Outcome:
    """Call `make` in a worker of the cluster and keep the model that it returns."""
    import ray

    session = open_session()
    threads, asked = session.threads, {"CPU": 1, **session.label}  # no GPU, wherever it runs
    task = ray.remote(**alone(asked), runtime_env={"env_vars": {"OMP_NUM_THREADS": str(threads)}})(_make_into)
    with scratch(run) as folder:
        out = folder / MODEL
        with budget_ends_only_undone(out), Watch(lambda _: run.progress.advance(1)) as watch:
            facts = ray.get(task.remote(make, arguments, teacher, out, watch.board, threads))
        return Outcome(rows=1, digest=folder_digest(out), facts=facts)


def _make_into(
    make: Callable[..., tuple[Any, dict[str, Any]]],
    arguments: tuple[Any, ...],
    teacher: Path,
    out: Path,
    board: Any,
    threads: int,
) -> dict[str, Any]:
    import ray
    import torch

    torch.set_num_threads(threads)
    model, facts = make(*arguments, lambda layers: ray.get(board.tell.remote(layers)))
    partial = out.with_name(out.name + ".partial")
    model.save_pretrained(partial)
    copy_tokenizer(teacher, partial)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    return facts


def _prune(
    config: PrunedStudent, teacher: Path, measured: list[TrainExample], shown: Callable[[int], None]
) -> tuple[Any, dict[str, Any]]:
    from pipelines.train.prune import prune

    model, removed = prune(teacher, config, measured, shown)
    return model, {
        "parameters": sum(p.numel() for p in model.parameters()),
        "removed_layers": [layer for layer, _ in removed],
        "kl_after_each": [round(harm, 4) for _, harm in removed],
    }


def _draw(config: RandomStudent, teacher: Path, seed: int, shown: Callable[[int], None]) -> tuple[Any, dict[str, Any]]:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    made = AutoConfig.from_pretrained(teacher)
    for name, value in config.sizes(made.to_dict()).items():
        setattr(made, name, value)
    if getattr(made, "layer_types", None):
        made.layer_types = made.layer_types[: config.layers]
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(made, dtype=torch.float32).to(torch.bfloat16)
    shown(1)
    return model, {"parameters": sum(p.numel() for p in model.parameters())}


def _refit(
    config: Refit,
    pruned: PrunedStudent,
    teacher: Path,
    rows: list[TrainExample],
    gone: list[int],
    shown: Callable[[int], None],
) -> tuple[Any, dict[str, Any]]:
    import torch

    from pipelines.train.attention import load
    from pipelines.train.prune import Calibration
    from pipelines.train.refit import refit

    model = load(teacher, torch.bfloat16)
    calibration = Calibration(model, rows[: pruned.calibration_rows], pruned.calibration_tokens)
    kept = [layer for layer in range(_layers_of(teacher)) if layer not in gone]
    model = refit(model, kept, rows[pruned.calibration_rows :], config.ridge, shown)
    return model, {"removed_layers": gone, "kl_after_refit": round(calibration.harm(model), 4)}


def _drawn(examples: Done, rows: int) -> list[TrainExample]:
    """As many examples as there are, up to `rows`, drawn by their ids: a fair sample that never changes."""
    return nsmallest(rows, rows_of(examples.folder, TrainExample), key=lambda e: e.id)


def _layers_of(model: Path) -> int:
    return int(json.loads((model / "config.json").read_text())["num_hidden_layers"])
