"""The one training loop: a Ray Train worker over DeepSpeed.

Knows ranks, packs and the optimizer. Does not know methods: they are in the examples' weights, the coefficients and the
soft targets; what is left on disk is `keep.py`'s. Every step's examples are a pure function of the seed and the step,
so a resumed run sees what the undisturbed one would have seen.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from pipelines.core.config import Train
from pipelines.core.hashing import key_of, seed_of
from pipelines.core.parts import rows_of
from pipelines.core.records import HeldOutLoss, SoftTargets, TrainExample
from pipelines.train import keep, lora
from pipelines.train.attention import load
from pipelines.train.batches import Batch, collate, order, packs, share
from pipelines.train.job import BEST, StepDone, TrainJob
from pipelines.train.layers import layer_list
from pipelines.train.learner import Learner
from pipelines.train.neftune import noise
from pipelines.train.references import Companions
from pipelines.train.schedule import learning_rate
from pipelines.train.step import counts, divisors, objective
from pipelines.train.validation import Best, split


def work(job: TrainJob, board: Any) -> None:
    """Runs on every rank. `board` is told each StepDone by rank 0 and answers whether to stop."""
    import ray
    import ray.train

    examples = list(rows_of(job.examples, TrainExample))
    assert examples, f"no examples in {job.examples.uri}"
    learnt, looked_at = split(examples, job.config.validation, job.seed)
    rank = _start(job)
    steps = order(learnt, job.config.epochs, job.config.examples_per_step, job.seed)
    before = keep.resume(rank.engine)
    best, start = Best(**before.get("best", {})), before.get("steps_done", 0)
    is_warned = False
    for number in range(start, len(steps)):
        done = rank.step([learnt[i] for i in steps[number]], number, len(steps))
        if looked_at and not done.suspects and _looks(job.config, number + 1, len(steps)):
            done = rank.looked(done, looked_at, best)
        stop = False
        if rank.number == 0:
            stop = ray.get(board.tell.remote(done))
        if done.suspects:
            return  # the driver says what is wrong
        stop = bool(rank.most(int(stop)))
        notice = ray.train.get_preemption_info() is not None  # on all ranks or on none
        if done.is_last:
            rank.finish(number + 1, is_best_kept=bool(looked_at))
            ray.train.report({})
            return
        if stop or (notice and not is_warned) or (number + 1) % job.config.checkpoint_every == 0:
            keep.checkpoint(rank.engine, {"steps_done": number + 1, "best": asdict(best)})
            is_warned = notice
        if stop:
            return


def _looks(config: Train, steps_done: int, steps: int) -> bool:
    return config.validation is not None and (steps_done % config.validation.every == 0 or steps_done == steps)


@dataclass
class Rank:
    """One worker with its engine. What is asked of one is asked of all: most of it is a collective."""

    number: int
    world: int
    engine: Any
    companions: Companions
    signals: Mapping[str, SoftTargets]
    job: TrainJob

    def step(self, examples: Sequence[TrainExample], number: int, steps: int) -> StepDone:
        """One optimizer step over the examples of all ranks; none where a loss is no number."""
        began = time.monotonic()
        config, mine = self.job.config, share(examples, self.number, self.world)
        # Dropout draws what this step would have drawn in an undisturbed run, too.
        torch.manual_seed(seed_of(key_of("dropout", self.job.seed, number, self.number)))
        rate = learning_rate(config, number, steps)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate
        total, tokens = self._counted(mine)
        suspects: list[str] = []
        sums = dict.fromkeys(total, 0.0)
        for batch, parts, is_last in self._forward(mine, number):
            self.engine.set_gradient_accumulation_boundary(is_last)
            # DeepSpeed divides gradients by the world size; N_c counts all ranks already.
            value = objective(parts, total, self._coefficients) * self.world
            self.engine.backward(value, scale_wrt_gas=False)
            if not isfinite(float(value.detach())):
                suspects += batch.ids
            for name in sums.keys() & parts.keys():
                sums[name] += float(parts[name].detach())
        everywhere = self._gathered(suspects)
        if not everywhere:
            self.engine.step()
        losses = self._means(sums, total)
        took_s, is_last = time.monotonic() - began, number + 1 == steps
        return StepDone(number + 1, steps, tokens, losses, rate, took_s, is_last=is_last, suspects=everywhere)

    def looked(self, done: StepDone, examples: Sequence[TrainExample], best: Best) -> StepDone:
        """The step with the objective on examples that nobody trains on; a best one's weights are kept."""
        loss = self._validate(share(examples, self.number, self.world))
        if best.look(loss, done.step):
            keep.export(self.engine, self.job, self._best, self.number)
            if self.job.store and self.number == 0:  # a checkpoint knows of it, wherever it is gone on from
                self.job.store.child(BEST).upload(self._best)
        config = self.job.config.validation
        assert config is not None, "looked without being asked to"
        values = asdict(done) | {"validation": loss, "is_last": done.is_last or best.is_enough(config.patience)}
        return StepDone(**values)

    def finish(self, steps_done: int, *, is_best_kept: bool) -> None:
        """Leave the trained model where it belongs."""
        out = Path(self.job.out)
        if self.job.config.warm:
            keep.write_warm(self.engine, self.job.config, out.with_name(keep.WARM), steps_done, self.number)
        if not is_best_kept:
            keep.export(self.engine, self.job, out, self.number)
        elif self.number == 0:
            keep.copy_model(self._best, out)

    def most(self, value: int) -> int:
        """The largest value of all ranks."""
        tensor = torch.tensor([value], device=self.engine.device)
        torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MAX)
        return int(tensor[0])

    @property
    def _best(self) -> Path:
        return Path(self.job.out).with_name(BEST)

    @property
    def _coefficients(self) -> dict[str, float]:
        return {str(name): value for name, value in self.job.config.losses.items()}

    def _validate(self, mine: Sequence[TrainExample]) -> float:
        """The objective, without noise or gradients."""
        total, _ = self._counted(mine)
        sums = dict.fromkeys(total, 0.0)
        self.engine.eval()
        with torch.no_grad():
            for _, parts, _ in self._forward(mine, None):
                for name in sums.keys() & parts.keys():
                    sums[name] += float(parts[name])
        self.engine.train()
        means = self._means(sums, total)
        return sum(self._coefficients[name] * mean for name, mean in means.items())

    def _forward(
        self, mine: Sequence[TrainExample], number: int | None
    ) -> Iterator[tuple[Batch, dict[str, torch.Tensor], bool]]:
        """(pack, its sums by component, whether it is the last) of this rank's packs. `number`: the step's, for noise.

        A rank with fewer packs computes weightless ones: under ZeRO every forward is a collective.
        """
        engine, config = self.engine, self.job.config
        rows = packs(mine, config.tokens_per_pack)
        most = self.most(len(rows))
        for n in range(most):
            batch = (collate(rows[n], self.signals) if n < len(rows) else self._weightless()).to(engine.device)
            # Under ZeRO 3 each chunk's head is a collective too.
            chunks = self.most(engine.module.chunks(batch))
            sums_C = engine(batch, self.companions.read(batch), self._noise(batch, number), chunks)
            yield batch, dict(zip(engine.module.components, sums_C, strict=True)), n + 1 == most

    def _noise(self, batch: Batch, number: int | None) -> torch.Tensor | None:
        alpha = self.job.config.neftune_alpha
        if number is None or not alpha:
            return None
        return noise(batch, self.engine.module.student.config.hidden_size, alpha, self.job.seed, number)

    def _weightless(self) -> Batch:
        """A pack of two tokens that weigh nothing."""
        read = (0,) if self.engine.module.student.config.is_encoder_decoder else ()
        batch = collate([TrainExample("", "", "", "answer", (0, 0), (0.0, 1.0), encoder_ids=read)], {})
        batch.weights_N.zero_()
        return batch

    def _counted(self, mine: Sequence[TrainExample]) -> tuple[dict[str, float], int]:
        """(N_c of each component, tokens) of all ranks."""
        names, local = sorted(self._coefficients), counts(mine, self.signals, self.job.config)
        *counted, tokens = self._summed([*(local.get(n, 0) for n in names), sum(e.size for e in mine)])
        return divisors(dict(zip(names, counted, strict=True))), int(tokens)

    def _means(self, sums: Mapping[str, float], total: Mapping[str, float]) -> dict[str, float]:
        """Of all ranks, by component; a component that nobody counted has none."""
        means = self._summed([sums[name] for name in total])
        return {name: value / total[name] for name, value in zip(total, means, strict=True) if total[name]}

    def _summed(self, values: Sequence[float]) -> list[float]:
        """The values summed over ranks."""
        tensor = torch.tensor(values, dtype=torch.float64, device=self.engine.device)
        torch.distributed.all_reduce(tensor)
        return [float(v) for v in tensor]

    def _gathered(self, mine: Sequence[str]) -> tuple[str, ...]:
        """What any rank has."""
        if not self.most(len(mine)):
            return ()
        found: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(found, list(mine))
        return tuple(sorted({id for ids in found for id in ids}))


def _start(job: TrainJob) -> Rank:
    """This worker with its engine and the models beside the student."""
    import deepspeed
    import ray.train

    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    # Gloo does on a CPU; DeepSpeed's own way there is compiled for a minute, where there is a compiler at all.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    model = _load(job)
    learning = [p for p in model.parameters() if p.requires_grad]
    engine, *_ = deepspeed.initialize(
        model=Learner(model, job.config), optimizer=adamw(learning, job.config), config=deepspeed_config(job.config),
        dist_init_required=False,
    )  # fmt: skip
    forget_steps(engine)
    signals = {s.example_id: s for folder in job.signals for s in rows_of(folder, SoftTargets)}
    context = ray.train.get_context()
    companions = _companions(job, engine.device)
    return Rank(context.get_world_rank(), context.get_world_size(), engine, companions, signals, job)


def _companions(job: TrainJob, device: torch.device) -> Companions:
    def frozen(folder: str | None) -> Any:
        return load(folder, _dtype(job.config)).requires_grad_(False).to(device) if folder else None

    base = job.model if job.config.has("base_kl") else None
    measured = rows_of(job.reference, HeldOutLoss) if job.reference else ()
    reference = {row.example_id: row.nll for row in measured}
    return Companions(job.config, frozen(job.teacher), frozen(base), job.teacher_tokens, reference)


def _dtype(config: Train) -> torch.dtype:
    return torch.bfloat16 if config.precision == "bf16" else torch.float32


def _load(job: TrainJob) -> Any:
    config, model = job.config, load(job.model, _dtype(job.config))
    model.config.use_cache = False
    if config.lora:
        lora.add(model, config.lora)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if config.freeze_embeddings:
        model.get_input_embeddings().requires_grad_(False)
    if config.frozen_layers:
        layer_list(model)[: config.frozen_layers].requires_grad_(False)
    return model.train()


def adamw(parameters: Iterable[torch.nn.Parameter], config: Train) -> torch.optim.Optimizer:
    """Torch's fused AdamW: one pass over memory, where DeepSpeed's own needs a compiler or makes ten.

    Its rate is 0 until a step sets it: DeepSpeed makes a step of its own with no gradients to allocate the moments,
    which must not decay the weights (see `forget_steps`).
    """
    return torch.optim.AdamW(parameters, 0.0, config.betas, weight_decay=config.weight_decay, fused=True)


def forget_steps(engine: Any) -> None:
    """Let AdamW count from 0, so that its bias correction is right: DeepSpeed may have made a step of its own."""
    optimizer = engine.optimizer
    while not isinstance(optimizer, torch.optim.Optimizer):
        optimizer = optimizer.optimizer
    for state in optimizer.state.values():
        if "step" in state:
            state["step"].zero_()


def deepspeed_config(config: Train) -> dict[str, Any]:
    """DeepSpeed's settings for one worker."""
    zero: dict[str, Any] = {"stage": config.zero_stage, "stage3_gather_16bit_weights_on_model_save": True}
    if config.offload:
        zero["offload_optimizer"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": 1,  # one pack
        "gradient_accumulation_steps": 1,  # the boundary is set by hand, as packs per step vary
        "gradient_clipping": config.clip,
        "bf16": {"enabled": config.precision == "bf16"},
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,  # torch's fused AdamW is as quick there
        "steps_per_print": 10**9,
    }
