"""The one training loop: a Ray Train worker over DeepSpeed.

Knows ranks, packs, checkpoints and the optimizer. Does not know methods: they are in the examples' weights, the
coefficients and the soft targets. Every step's examples are a pure function of the seed and the step, so a
resumed run sees what the undisturbed one would have seen.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pipelines.core.config import Train
from pipelines.core.parts import rows_of
from pipelines.core.records import SoftTargets, TrainExample
from pipelines.train.attention import load
from pipelines.train.batches import Batch, collate, order, packs, share
from pipelines.train.job import StepDone, TrainJob
from pipelines.train.layers import layer_list
from pipelines.train.learner import Learner
from pipelines.train.neftune import noise
from pipelines.train.references import Companions
from pipelines.train.step import counts, objective


def work(job: TrainJob, board: Any) -> None:
    """Runs on every rank. `board` is told each StepDone by rank 0 and answers whether to stop."""
    import deepspeed
    import ray
    import ray.train

    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    examples = list(rows_of(job.examples, TrainExample))
    assert examples, f"no examples in {job.examples.uri}"
    signals = {s.example_id: s for folder in job.signals for s in rows_of(folder, SoftTargets)}
    # Gloo does on a CPU; DeepSpeed's own way there is compiled for a minute, where there is a compiler at all.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    model = _load(job)
    learning = [p for p in model.parameters() if p.requires_grad]
    engine, *_ = deepspeed.initialize(
        model=Learner(model, job.config), optimizer=_adamw(learning, job.config), config=_deepspeed_config(job.config),
        dist_init_required=False,
    )  # fmt: skip
    companions = _companions(job, engine.device)
    steps = order(len(examples), job.config.epochs, job.config.examples_per_step, job.seed)
    start = _resume(engine)
    for number in range(start, len(steps)):
        mine = [examples[i] for i in share(steps[number], rank, world)]
        rate = learning_rate(job.config, number, len(steps))
        tokens, losses = _step(engine, companions, mine, signals, job, number, rate, world)
        stop = False
        if rank == 0:
            stop = ray.get(board.tell.remote(StepDone(number + 1, len(steps), tokens, losses, rate)))
        stop = bool(_most(int(stop), engine.device))
        last = number + 1 == len(steps)
        if last:
            _export(engine, job, rank)
            ray.train.report({"steps_done": number + 1})
        elif stop or (number + 1) % job.config.checkpoint_every == 0:
            _checkpoint(engine, number + 1)
        if stop:
            return


def learning_rate(config: Train, step: int, steps: int) -> float:
    """Linear warm-up, then linear decay to `final_learning_rate` of the peak. `step` counts from 0."""
    warm = max(1, round(config.warmup * steps))
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    fall = (step - warm + 1) / max(1, steps - warm)
    return config.learning_rate * (1 - (1 - config.final_learning_rate) * fall)


def _step(
    engine: Any,
    companions: Companions,
    mine: Sequence[TrainExample],
    signals: Mapping[str, SoftTargets],
    job: TrainJob,
    number: int,
    rate: float,
    world: int,
) -> tuple[int, dict[str, float]]:
    """One optimizer step over this rank's packs: (tokens of all ranks, mean loss of each component)."""
    config = job.config
    coefficients = {str(name): value for name, value in config.losses.items()}
    names = sorted(coefficients)
    local = counts(mine, signals, config)
    mine_tokens = sum(len(e.token_ids) for e in mine)
    *counted, tokens = _summed([*(local.get(n, 0) for n in names), mine_tokens], engine.device)
    total = dict(zip(names, counted, strict=True))
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
    rows = packs(mine, config.tokens_per_pack)
    most = _most(len(rows), engine.device)
    sums = dict.fromkeys(names, 0.0)
    for n in range(most):
        # A rank with fewer packs computes a weightless one: under ZeRO every forward is a collective.
        batch = (collate(rows[n], signals) if n < len(rows) else _weightless()).to(engine.device)
        # Under ZeRO 3 each chunk's head is a collective too.
        chunks = _most(engine.module.chunks(batch), engine.device)
        sums_C = engine(batch, companions.read(batch), _noise(engine.module, batch, job, number), chunks)
        parts = dict(zip(engine.module.components, sums_C, strict=True))
        engine.set_gradient_accumulation_boundary(n + 1 == most)
        # DeepSpeed divides gradients by the world size; N_c counts all ranks already.
        engine.backward(objective(parts, total, coefficients) * world, scale_wrt_gas=False)
        for name in sums.keys() & parts.keys():
            sums[name] += float(parts[name].detach())
    engine.step()
    means = _summed([sums[n] for n in names], engine.device)
    return int(tokens), {n: m / total[n] for n, m in zip(names, means, strict=True) if total[n]}


def _noise(learner: Learner, batch: Batch, job: TrainJob, step: int) -> torch.Tensor | None:
    alpha, width = job.config.neftune_alpha, learner.student.config.hidden_size
    return noise(batch, width, alpha, job.seed, step) if alpha else None


def _weightless() -> Batch:
    """A pack of two tokens that weigh nothing."""
    example = TrainExample("", "", "", "answer", (0, 0), (0.0, 1.0))
    batch = collate([example], {})
    batch.weights_N.zero_()
    return batch


def _summed(values: Sequence[float], device: torch.device) -> list[float]:
    """The values summed over ranks."""
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(tensor)
    return [float(v) for v in tensor]


def _most(value: int, device: torch.device) -> int:
    """The largest value of all ranks."""
    tensor = torch.tensor([value], device=device)
    torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MAX)
    return int(tensor[0])


def _companions(job: TrainJob, device: torch.device) -> Companions:
    def frozen(folder: str | None) -> Any:
        return load(folder, _dtype(job.config)).requires_grad_(False).to(device) if folder else None

    base = job.model if job.config.has("base_kl") else None
    return Companions(job.config, frozen(job.teacher), frozen(base), job.teacher_tokens)


def _dtype(config: Train) -> torch.dtype:
    return torch.bfloat16 if config.precision == "bf16" else torch.float32


def _load(job: TrainJob) -> Any:
    model = load(job.model, _dtype(job.config))
    model.config.use_cache = False
    if job.config.freeze_embeddings:
        model.get_input_embeddings().requires_grad_(False)
    layer_list(model)[: job.config.frozen_layers].requires_grad_(False)
    return model.train()


def _adamw(parameters: Sequence[torch.nn.Parameter], config: Train) -> torch.optim.Optimizer:
    """Torch's fused AdamW: one pass over memory, where DeepSpeed's own needs a compiler or makes ten."""
    return torch.optim.AdamW(
        parameters, config.learning_rate, config.betas, weight_decay=config.weight_decay, fused=True
    )


def _deepspeed_config(config: Train) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": 1,  # one pack
        "gradient_accumulation_steps": 1,  # the boundary is set by hand, as packs per step vary
        "gradient_clipping": config.clip,
        "bf16": {"enabled": config.precision == "bf16"},
        "zero_optimization": {
            "stage": config.zero_stage,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "steps_per_print": 10**9,
    }


def _resume(engine: Any) -> int:
    """Load the last checkpoint, if there is one; returns the steps that are done."""
    import ray.train

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        _, client = engine.load_checkpoint(folder)
    return int(client["steps_done"])


def _checkpoint(engine: Any, steps_done: int) -> None:
    """Save so that this run can go on; every rank writes its own shard and Ray gathers them."""
    import ray.train

    with tempfile.TemporaryDirectory() as folder:
        engine.save_checkpoint(folder, client_state={"steps_done": steps_done})
        ray.train.report({"steps_done": steps_done}, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _export(engine: Any, job: TrainJob, rank: int) -> None:
    """A Hugging Face folder that `from_pretrained` and vLLM load as it is."""
    import deepspeed

    model = engine.module.student
    gathered = list(model.parameters()) if job.config.zero_stage == 3 else []
    with deepspeed.zero.GatheredParameters(gathered, enabled=bool(gathered)):
        if rank == 0:
            model.config.use_cache = True
            out = Path(job.out)
            partial = out.with_name(out.name + ".partial")
            model.save_pretrained(partial)
            for file in Path(job.model).iterdir():
                if file.suffix in (".json", ".jinja") and not (partial / file.name).exists():
                    shutil.copy(file, partial / file.name)
            if job.chat_template:
                (partial / "chat_template.jinja").write_text(job.chat_template, encoding="utf-8")
            shutil.rmtree(out, ignore_errors=True)
            os.replace(partial, out)
