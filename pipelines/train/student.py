"""The student's two stages: its first weights, and its training.

Knows how each is placed on the cluster and what its manifest says. The search for layers is in `prune.py`, the
training in `loop.py`. Output: `<stage>/model`, a Hugging Face folder.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import nsmallest
from pathlib import Path
from typing import Any

from cluster.board import Watch
from cluster.models import Model
from cluster.session import Session
from pipelines.core.config import PrunedStudent, Train
from pipelines.core.errors import BudgetReached, UserError
from pipelines.core.hashing import file_digest, key_of
from pipelines.core.parts import rows_of
from pipelines.core.progress import Progress
from pipelines.core.records import TrainExample
from pipelines.core.stage import Done, Outcome, Stage, StageRun
from pipelines.train.job import StepDone, TrainJob

MODEL = "model"
CURVE = "curve.jsonl"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json",
    "generation_config.json",
)  # fmt: skip


def run_prune(config: PrunedStudent, teacher: Path, open_session: Callable[[], Session], run: StageRun) -> Outcome:
    """Remove layers from the teacher by measured harm, in a worker of the cluster."""
    import ray

    threads = open_session().threads
    out = run.folder.local_path() / MODEL
    examples = _drawn(run.inputs["examples"], config.calibration_rows + (config.refit.rows if config.refit else 0))
    has = int(json.loads((teacher / "config.json").read_text())["num_hidden_layers"])
    steps = has - config.layers + (config.layers if config.refit else 0)
    run.progress.begin("student_init", steps, unit="layers")
    task = ray.remote(num_cpus=1, runtime_env={"env_vars": {"OMP_NUM_THREADS": str(threads)}})(_prune_into)
    with _budget_ends_only_undone(out), Watch(lambda _: run.progress.advance(1)) as watch:
        facts = ray.get(task.remote(config, teacher, examples, out, watch.board, threads))
    return Outcome(rows=1, digest=folder_digest(out), facts=facts)


def _drawn(examples: Done, rows: int) -> list[TrainExample]:
    """As many examples as there are, up to `rows`, drawn by their ids: a fair sample that never changes."""
    return nsmallest(rows, rows_of(examples.folder, TrainExample), key=lambda e: e.id)


def _prune_into(
    config: PrunedStudent, teacher: Path, examples: list[TrainExample], out: Path, board: Any, threads: int
) -> dict[str, Any]:
    import ray
    import torch

    from pipelines.train.prune import prune
    from pipelines.train.refit import refit

    def shown(layers: int) -> None:
        ray.get(board.tell.remote(layers))

    torch.set_num_threads(threads)
    measured, rest = examples[: config.calibration_rows], examples[config.calibration_rows :]
    model, removed, calibration = prune(teacher, config.layers, measured, config.calibration_tokens, shown)
    facts = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "removed_layers": [layer for layer, _ in removed],
        "kl_after_each": [round(harm, 4) for _, harm in removed],
    }
    if config.refit and removed and rest:
        gone = {layer for layer, _ in removed}
        kept = [layer for layer in range(config.layers + len(gone)) if layer not in gone]
        model = refit(teacher, kept, rest, config.refit.ridge, shown)
        facts["kl_after_refit"] = round(calibration.harm(model), 4)
    partial = out.with_name(out.name + ".partial")
    model.save_pretrained(partial)
    copy_tokenizer(teacher, partial)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    return facts


def given(model: Model) -> Stage:
    """The stage of a student that is there already: its manifest says where, and nothing is copied."""

    def run(stage: StageRun) -> Outcome:
        return Outcome(rows=1, digest=model.digest, facts={"model": str(model.folder())})

    return Stage("student_init", 2, {"model": model.digest}, {}, run)


def model_of(done: Done) -> Path:
    """The Hugging Face folder that a student stage stands for."""
    elsewhere = done.manifest["facts"].get("model")
    return Path(elsewhere) if elsewhere else done.folder.local_path() / MODEL


def run_train(config: Train, seed: int, first: Path, open_session: Callable[[], Session], run: StageRun) -> Outcome:
    """Train on the examples; resumes from the last checkpoint of an earlier, interrupted call."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    if not run.inputs["examples"].manifest["rows"]:
        raise UserError("there is no example to train on: every row was dropped; `tutelage report` says why")
    session = open_session()
    folder = run.folder.local_path()
    out = folder / MODEL
    signals = run.inputs["soft_targets"].folder if "soft_targets" in run.inputs else None
    threads = max(1, session.threads // config.workers)
    job = TrainJob(str(first), run.inputs["examples"].folder, signals, config, seed, str(out), threads)
    curve = _Curve(folder / CURVE, run.progress)
    with _budget_ends_only_undone(out), Watch(curve.add) as watch:
        TorchTrainer(
            _on_worker,
            train_loop_config={"job": job, "board": watch.board},
            scaling_config=ScalingConfig(
                num_workers=config.workers,
                use_gpu=session.on_gpu,
                resources_per_worker={"GPU": 1, "CPU": 1} if session.on_gpu else {"CPU": 1},
            ),
            torch_config=TorchConfig(backend="nccl" if session.on_gpu else "gloo"),
            # DeepSpeed's shards fit the layout that wrote them, so each layout has checkpoints of its own.
            run_config=RunConfig(
                name=f"train-{config.workers}-zero{config.zero_stage}",
                storage_path=str(folder),
                **_run_options(session, threads),
            ),
        ).fit()
    points = curve.points
    for checkpoints in folder.glob("train-*"):  # they have done their work
        shutil.rmtree(checkpoints)
    facts = {"loss_curve": points, "tokens": sum(p["tokens"] for p in points), "steps": len(points)}
    return Outcome(rows=1, digest=folder_digest(out), facts=facts)


@contextmanager
def _budget_ends_only_undone(out: Path) -> Iterator[None]:
    """A budget that is reached by the very last step does not undo the work."""
    try:
        yield
    except BudgetReached:
        if not out.is_dir():
            raise


def _on_worker(given: dict[str, Any]) -> None:
    from pipelines.train.loop import work

    work(given["job"], given["board"])


def _run_options(session: Session, threads: int) -> dict[str, Any]:
    from ray.train import CheckpointConfig, FailureConfig

    env = {"OMP_NUM_THREADS": str(threads)} | ({} if session.on_gpu else {"DS_ACCELERATOR": "cpu"})
    return {
        "checkpoint_config": CheckpointConfig(num_to_keep=1),
        "failure_config": FailureConfig(max_failures=2),
        "worker_runtime_env": {"env_vars": env},
    }


class _Curve:
    """The loss curve on disk, one line per step; a resumed run replaces the steps it does again."""

    def __init__(self, file: Path, progress: Progress) -> None:
        self._file, self._progress = file, progress
        lines = file.read_text().splitlines() if file.is_file() else []
        self._by_step: dict[int, dict[str, Any]] = {p["step"]: p for p in map(json.loads, lines)}
        self._begun = False

    @property
    def points(self) -> list[dict[str, Any]]:
        return [self._by_step[step] for step in sorted(self._by_step)]

    def add(self, done: StepDone) -> None:
        if not self._begun:
            self._begun = True
            self._progress.begin("student", done.steps, done.step - 1, unit="steps")
        losses = {name: round(value, 5) for name, value in done.losses.items()}
        self._by_step[done.step] = {
            "step": done.step, "tokens": done.tokens, "losses": losses, "learning_rate": done.learning_rate,
        }  # fmt: skip
        with self._file.open("a") as handle:
            handle.write(json.dumps(self._by_step[done.step]) + "\n")
        self._progress.advance(1, done.tokens)


def copy_tokenizer(source: Path, target: Path) -> None:
    """The tokenizer's own files, byte for byte."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copy(source / name, target / name)


def folder_digest(folder: Path) -> str:
    """Digest of a model folder's files."""
    return key_of(*[[f.name, file_digest(f)] for f in sorted(folder.iterdir()) if f.is_file()])
