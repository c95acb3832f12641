"""The state for a probe: one plain AdamW step from it is DeepSpeed's next step, from any ZeRO stage and precision.

One rank in this process; several ranks are in test_loop.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pipelines.core.config import Train
from pipelines.core.records import TrainExample
from pipelines.train.attention import load
from pipelines.train.batches import collate
from pipelines.train.keep import write_warm
from pipelines.train.learner import Learner
from pipelines.train.loop import adamw, deepspeed_config, forget_steps
from pipelines.train.step import counts, objective

pytestmark = pytest.mark.engine

RATE = 1e-3


@pytest.fixture(scope="module", autouse=True)
def one_rank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import torch.distributed as dist

    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"), ("DS_ACCELERATOR", "cpu")):
            patch.setenv(name, value)
        dist.init_process_group(
            "gloo", init_method=f"file://{tmp_path_factory.mktemp('dist') / 'meet'}", rank=0, world_size=1
        )
        yield
        dist.destroy_process_group()


def _loss(learner: Any, sums_C: Tensor, examples: list[TrainExample], config: Train) -> Tensor:
    parts = dict(zip(learner.components, sums_C, strict=True))
    return objective(parts, counts(examples, {}, config), {str(n): v for n, v in config.losses.items()})


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("zero_stage", "offload"), [(0, False), (1, False), (2, False), (3, False), (2, True)])
def test_one_plain_step_from_it_is_the_engines_next(
    zero_stage: int, offload: bool, precision: Any, tiny_llama: Path, talk: list[TrainExample], tmp_path: Path
) -> None:
    import deepspeed

    config = Train.model_validate(
        {"zero_stage": zero_stage, "offload": offload, "precision": precision, "weight_decay": 0.1, "warm": True}
    )
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    learner = Learner(load(tiny_llama, dtype).train(), config)
    optimizer = adamw(learner.parameters(), config)
    engine, *_ = deepspeed.initialize(
        model=learner, optimizer=optimizer, config=deepspeed_config(config), dist_init_required=False
    )
    forget_steps(engine)
    for group in engine.optimizer.param_groups:
        group["lr"] = RATE

    def step(examples: list[TrainExample]) -> None:
        engine.set_gradient_accumulation_boundary(True)
        engine.backward(_loss(learner, engine(collate(examples, {})), examples, config), scale_wrt_gas=False)
        engine.step()

    for at in (0, 1, 2):
        step(talk[at : at + 3])
    write_warm(engine, config, tmp_path / "warm", 3, 0)
    masters = load_file(tmp_path / "warm" / "masters.safetensors")
    model = load(tiny_llama, torch.float32)
    assert masters.keys() == dict(model.named_parameters()).keys()
    # The gradient of the weights that the engine computes with, as it clips it.
    plain = Learner(load(tiny_llama, dtype).train(), config)
    plain.student.load_state_dict({name: value.to(dtype) for name, value in masters.items()}, strict=False)
    _loss(plain, plain(collate(talk[3:6], {})), talk[3:6], config).backward()
    gradients = {name: p.grad.float() for name, p in plain.student.named_parameters() if p.grad is not None}
    _clip(gradients, config.clip)
    _plain_step(masters, gradients, tmp_path / "warm")
    step(talk[3:6])
    write_warm(engine, config, tmp_path / "next", 4, 0)
    after = load_file(tmp_path / "next" / "masters.safetensors")
    apart = torch.cat([(after[name] - masters[name]).flatten() for name in masters])
    assert apart.pow(2).mean().sqrt() <= 1e-6
    moved = torch.cat([(after[n] - load_file(tmp_path / "warm" / "masters.safetensors")[n]).flatten() for n in after])
    assert moved.pow(2).mean().sqrt() > 1e-4  # a step was made at all


def _clip(gradients: dict[str, Tensor], most: float) -> None:
    norm = torch.stack([g.norm() for g in gradients.values()]).norm()
    for gradient in gradients.values():
        gradient.mul_(min(1.0, most / (float(norm) + 1e-6)))


def _plain_step(masters: dict[str, Tensor], gradients: dict[str, Tensor], warm: Path) -> None:
    """AdamW as its paper has it (arXiv 1711.05101), in place."""
    kept = json.loads((warm / "optimizer.json").read_text())
    first, second = (load_file(warm / f"{kind}.safetensors") for kind in ("exp_avg", "exp_avg_sq"))
    b1, b2 = kept["betas"]
    steps = kept["steps_done"] + 1
    for name, g in gradients.items():
        m, v = b1 * first[name] + (1 - b1) * g, b2 * second[name] + (1 - b2) * g * g
        masters[name] *= 1 - kept["lr"] * kept["weight_decay"]
        masters[name] -= kept["lr"] * (m / (1 - b1**steps)) / ((v / (1 - b2**steps)).sqrt() + kept["eps"])
