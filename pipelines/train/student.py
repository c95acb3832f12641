"""The student's training as a stage: how it is placed on the cluster, and what its manifest says.

Knows Ray Train and checkpoints on disk. The training itself is in `loop.py`, the first weights in `initial.py`.
Output: `<stage>/model`, a Hugging Face folder.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from cluster.board import Watch
from cluster.models import here
from cluster.scratch import scratch
from cluster.session import Session
from pipelines.core.config import Train
from pipelines.core.disk import MAKE_ROOM
from pipelines.core.errors import BudgetReached, UserError
from pipelines.core.hashing import file_digest, key_of
from pipelines.core.parts import rows_of
from pipelines.core.records import SoftTargets
from pipelines.core.signals import rest
from pipelines.core.stage import Done, Outcome, StageRun
from pipelines.core.storage import Folder
from pipelines.train.card import CARD
from pipelines.train.curve import CURVE, Curve
from pipelines.train.job import BEST, MODEL, TrainJob
from pipelines.train.track import Tracks

CHECKPOINTS = "train-"  # how the names of Ray Train's folders begin
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json",
    "generation_config.json",
)  # fmt: skip


def model_of(done: Done) -> Path:
    """The Hugging Face folder that a student stage stands for, on this machine's disk."""
    return here(ref_of(done))


def ref_of(done: Done) -> str:
    """The same as a recipe would name it: for whoever needs it on another machine."""
    elsewhere: str | None = done.manifest["facts"].get("model")
    return elsewhere or done.folder.uri_of(MODEL)


def run_train(
    config: Train,
    seed: int,
    first: Path,
    open_session: Callable[[], Session],
    run: StageRun,
    chat_template: str = "",
    teacher: Path | None = None,
    teacher_tokens: int | None = None,
) -> Outcome:
    """Train on the examples; resumes from the last checkpoint of an earlier, interrupted call.

    `chat_template` is what they were rendered with, where that is not the model's own; the student takes it along.
    `teacher` runs beside the student where a loss needs it; it, or those that gave the signals, know `teacher_tokens`
    token ids.
    """
    if not run.inputs["examples"].manifest["rows"]:
        raise UserError("there is no example to train on: every row was dropped; `tutelage report` says why")
    session = open_session()
    with scratch(run, stays=CHECKPOINTS) as folder:
        return _train(config, seed, first, session, run, folder, chat_template, teacher, teacher_tokens)


def _train(
    config: Train, seed: int, first: Path, session: Session, run: StageRun, folder: Path, chat_template: str,
    teacher: Path | None, teacher_tokens: int | None,
) -> Outcome:  # fmt: skip
    """The same in `folder`, which is the stage's own or a local copy of it."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    out = folder / MODEL
    before = run.inputs.get("reference")
    signals = tuple(done.folder for role, done in run.inputs.items() if role.startswith("soft_targets"))
    threads = max(1, session.threads // config.workers)
    store = None if run.folder.is_local else run.folder
    job = TrainJob(
        str(first), run.inputs["examples"].folder, signals, config, seed, str(out), threads, chat_template,
        str(teacher) if teacher else None, teacher_tokens, before.folder if before else None,
        store,
    )  # fmt: skip
    settings = config.model_dump(mode="json", exclude_defaults=True)
    tracks = Tracks(folder, run.folder.name, settings, config.track, run.progress.note)
    curve = Curve(folder / CURVE, run.progress, tracks, store, config.checkpoint_every)
    with _full_disk_in_words(run.folder), closing(tracks), budget_ends_only_undone(out), Watch(curve.add) as watch:
        TorchTrainer(
            _on_worker,
            train_loop_config={"job": job, "board": watch.board},
            scaling_config=ScalingConfig(
                num_workers=config.workers,
                use_gpu=session.on_gpu,
                resources_per_worker=dict(session.bundle),
                placement_strategy=session.strategy,
            ),
            torch_config=TorchConfig(backend="nccl" if session.on_gpu else "gloo"),
            # DeepSpeed's shards fit the layout that wrote them, so each layout has checkpoints of its own.
            run_config=RunConfig(
                name=f"{CHECKPOINTS}{config.workers}-zero{config.zero_stage}",
                **_where(run.folder),
                **_run_options(session, threads),
            ),
        ).fit()
    points = curve.points
    for place in {run.folder, Folder(str(folder))}:  # checkpoints have done their work
        for done in place.folders():
            if done.startswith(CHECKPOINTS) or done == BEST:
                place.child(done).delete()
    facts = {
        "loss_curve": points, "tokens": sum(p["tokens"] for p in points), "steps": len(points),
        "loss_shares": _shares(config, points), "teacher_rest": _teacher_rest(signals), **_best(points),
    }  # fmt: skip
    return Outcome(rows=1, digest=folder_digest(out), facts=facts)


def _shares(config: Train, points: list[dict[str, Any]]) -> dict[str, float]:
    """What part of the objective each loss was, over the whole run."""
    parts = {name: sum(c * p["losses"].get(name, 0.0) for p in points) for name, c in config.losses.items()}
    whole = sum(parts.values())
    return {name: round(part / whole, 4) for name, part in parts.items()} if whole else {}


def _best(points: list[dict[str, Any]]) -> dict[str, Any]:
    """The step whose weights are the student's, where training was looked at."""
    looks = [point for point in points if "validation" in point]
    if not looks:
        return {}
    best = min(looks, key=lambda point: point["validation"])
    return {"best_step": best["step"], "best_validation": best["validation"]}


def _teacher_rest(signals: Sequence[Folder]) -> float | None:
    """Mean mass of the teacher's distributions outside the captured candidates: how much of them 'kd' cannot see."""
    mass, positions = 0.0, 0
    for signal in chain.from_iterable(rows_of(folder, SoftTargets) for folder in signals):
        mass += float(rest(signal).sum())
        positions += len(signal.positions)
    return round(mass / positions, 5) if positions else None


@contextmanager
def budget_ends_only_undone(out: Path) -> Iterator[None]:
    """A budget that is reached by the very last step does not undo the work."""
    try:
        yield
    except BudgetReached:
        if not out.is_dir():
            raise


@contextmanager
def _full_disk_in_words(folder: Folder) -> Iterator[None]:
    """UserError where a disk was full, whoever wrote to it: Ray, DeepSpeed, safetensors and the curve say so alike."""
    from ray.train import TrainingFailedError

    try:
        yield
    except (OSError, TrainingFailedError) as error:
        if (why := os.strerror(errno.ENOSPC)) not in str(error):
            raise
        raise UserError(
            f"training could not write to {folder.uri}, or to a node's temporary folder: {why}. {MAKE_ROOM}"
        ) from error


def _on_worker(given: dict[str, Any]) -> None:
    from pipelines.train.loop import work

    work(given["job"], given["board"])


def _where(folder: Folder) -> dict[str, Any]:
    """Where Ray Train keeps its checkpoints: in the stage's folder, so that any node goes on from them."""
    if folder.is_local:
        return {"storage_path": str(folder.local_path())}
    from pyarrow.fs import FileSystem

    filesystem, path = FileSystem.from_uri(folder.uri)
    return {"storage_path": path, "storage_filesystem": filesystem}


def _run_options(session: Session, threads: int) -> dict[str, Any]:
    from ray.train import CheckpointConfig, FailureConfig

    env = {"OMP_NUM_THREADS": str(threads)} | ({} if session.on_gpu else {"DS_ACCELERATOR": "cpu"})
    return {
        "checkpoint_config": CheckpointConfig(num_to_keep=1),
        "failure_config": FailureConfig(max_failures=3),
        "worker_runtime_env": {"env_vars": env},
    }


def copy_tokenizer(source: Path, target: Path) -> None:
    """The tokenizer's own files, byte for byte."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copy(source / name, target / name)


def folder_digest(folder: Path) -> str:
    """Digest of a model folder's files, without its card."""
    return key_of(*[[f.name, file_digest(f)] for f in sorted(folder.iterdir()) if f.is_file() and f.name != CARD])
