"""Held-out loss as a stage: student before and after, and its teachers, on rows that training never saw.

Knows how the measuring is placed on the cluster and how it resumes: model by model. The measuring itself is in
`measure.py`. It needs no endpoint, so it also fits runs whose models nobody wants to serve.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.board import Watch
from cluster.models import parameter_count
from cluster.placement import alone
from cluster.session import Session
from pipelines.core.config import Precision
from pipelines.core.hashing import key_of
from pipelines.core.parts import Shard, has_shard, rows_of, summary, write_shard
from pipelines.core.progress import Progress
from pipelines.core.records import HeldOutLoss, TrainExample
from pipelines.core.stage import Outcome, StageRun

STAGE = "held_out_loss"
BEFORE, AFTER = "student-before", "student"


def run(
    models: Mapping[str, Path], open_session: Callable[[], Session], run: StageRun, precision: Precision = "bf16"
) -> Outcome:
    """Measure every model (name -> folder) on all rows of the input `held_out`."""
    examples = list(rows_of(run.inputs["held_out"].folder, TrainExample))
    shards = {name: Shard(n, name, 0, len(examples)) for n, name in enumerate(models)}
    todo = [name for name in models if not has_shard(run.folder, shards[name])]
    run.progress.begin(STAGE, len(models) * len(examples), (len(models) - len(todo)) * len(examples))
    for name in todo:
        measured = in_a_worker(models[name], examples, open_session(), run.progress, precision)
        write_shard(run.folder, shards[name], _records(name, examples, measured), HeldOutLoss, [])
    rows, digest, dropped = summary(run.folder, HeldOutLoss)
    means = mean_by_model(rows_of(run.folder, HeldOutLoss))
    facts = {
        "nats_per_token": {name: round(means[name], 5) for name in models},
        "parameters": {name: parameter_count(folder) for name, folder in models.items()},
    }
    return Outcome(rows, digest, dropped, facts=facts)


def mean_by_model(rows: Iterable[HeldOutLoss]) -> dict[str, float]:
    """Nats per token of each model, over all sources."""
    sums: dict[str, tuple[float, int]] = {}
    for row in rows:
        nll, tokens = sums.get(row.model, (0.0, 0))
        sums[row.model] = nll + row.nll, tokens + row.tokens
    return {model: nll / tokens for model, (nll, tokens) in sums.items() if tokens}


def _records(model: str, examples: Sequence[TrainExample], measured: Sequence[tuple[float, int]]) -> list[HeldOutLoss]:
    return [
        HeldOutLoss(key_of(STAGE, model, e.id), e.id, e.source, model, nll, tokens)
        for e, (nll, tokens) in zip(examples, measured, strict=True)
    ]


def in_a_worker(
    folder: Path,
    examples: Sequence[TrainExample],
    session: Session,
    progress: Progress,
    precision: Precision = "bf16",
) -> list[tuple[float, int]]:
    """(nats, tokens) of each example, measured in a worker of the cluster."""
    import ray

    env = {"OMP_NUM_THREADS": str(session.threads)}
    task = ray.remote(**alone(session.bundle), runtime_env={"env_vars": env})(_measured)
    with Watch(lambda rows: progress.advance(rows)) as watch:
        asked = task.remote(folder, list(examples), watch.board, session.threads, precision)
        measured: list[tuple[float, int]] = ray.get(asked)
    return measured


def _measured(
    folder: Path, examples: list[TrainExample], board: Any, threads: int, precision: Precision
) -> list[tuple[float, int]]:
    import ray
    import torch

    from pipelines.train.measure import losses

    torch.set_num_threads(threads)
    return losses(folder, examples, lambda rows: ray.get(board.tell.remote(rows)), precision)
