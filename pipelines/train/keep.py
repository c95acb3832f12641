"""What a training worker leaves on disk: checkpoints to go on from, the trained model, its state for a probe.

Knows DeepSpeed's engines, Ray Train's checkpoints and Hugging Face folders. Does not know losses or steps.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.core.config import Train
from pipelines.train import lora
from pipelines.train.job import TrainJob

WARM = "warm"


def resume(engine: Any) -> dict[str, Any]:
    """Load the last checkpoint; returns what was kept beside it, nothing where there is none."""
    import ray.train

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return {}
    with checkpoint.as_directory() as folder:
        _, beside = engine.load_checkpoint(folder)
    return dict(beside)


def checkpoint(engine: Any, beside: Mapping[str, Any]) -> None:
    """Save so that this run can go on; every rank writes its own shard and Ray gathers them."""
    import ray.train

    with tempfile.TemporaryDirectory() as folder:
        engine.save_checkpoint(folder, client_state=dict(beside))
        ray.train.report({}, checkpoint=ray.train.Checkpoint.from_directory(folder))


def export(engine: Any, job: TrainJob, out: Path, rank: int) -> None:
    """A Hugging Face folder that `from_pretrained` and vLLM load as it is. LoRA adapters are merged in it."""
    import deepspeed

    model = engine.module.student
    gathered = list(model.parameters()) if job.config.zero_stage == 3 else []
    with deepspeed.zero.GatheredParameters(gathered, enabled=bool(gathered)):
        if rank == 0:
            model.config.use_cache = True
            partial = out.with_name(out.name + ".partial")
            model.save_pretrained(partial, **({"state_dict": lora.merged(model)} if job.config.lora else {}))
            model.config.use_cache = False
            for file in Path(job.model).iterdir():
                if file.suffix in (".json", ".jinja") and not (partial / file.name).exists():
                    shutil.copy(file, partial / file.name)
            if job.chat_template:
                (partial / "chat_template.jinja").write_text(job.chat_template, encoding="utf-8")
            shutil.rmtree(out, ignore_errors=True)
            os.replace(partial, out)


def copy_model(source: Path, out: Path) -> None:
    """The same model under another name. The source stays: a run that is killed now goes on and looks at it again."""
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(partial, out)


def write_warm(engine: Any, config: Train, folder: Path, steps_done: int, rank: int) -> None:
    """fp32 masters and AdamW's moments of every trained weight, by its name in the model, from any ZeRO stage.

    `masters`, `exp_avg` and `exp_avg_sq` are safetensors files of the same names; `optimizer.json` has the rest that
    one more step needs, and `lora.json` says what the trained weights are where they are adapters. It stands for the
    weights as they are now, so not for an earlier best.
    """
    from safetensors.torch import save_file

    state = warm_state(engine)  # collective: every rank takes part
    if rank:
        return
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    for kind in ("masters", "exp_avg", "exp_avg_sq"):
        save_file({name: values[kind] for name, values in state.items()}, partial / f"{kind}.safetensors")
    group = engine.optimizer.param_groups[0]
    settings = {"steps_done": steps_done, "betas": list(group["betas"])}
    settings |= {name: group[name] for name in ("lr", "eps", "weight_decay")}
    (partial / "optimizer.json").write_text(json.dumps(settings), encoding="utf-8")
    if config.lora:
        (partial / lora.FILE).write_text(config.lora.model_dump_json(), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def warm_state(engine: Any) -> dict[str, dict[str, Tensor]]:
    """{name: {masters, exp_avg, exp_avg_sq}}, each whole, in fp32 and on the CPU."""
    return {
        name: {kind: value.detach().to("cpu", torch.float32, copy=True) for kind, value in _whole(engine, p).items()}
        for name, p in engine.module.student.named_parameters()
        if p.requires_grad
    }


def _whole(engine: Any, parameter: Tensor) -> dict[str, Tensor]:
    from deepspeed.runtime.fp16.unfused_optimizer import FP16_UnfusedOptimizer
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    optimizer, kinds = engine.optimizer, ("exp_avg", "exp_avg_sq")
    if isinstance(optimizer, torch.optim.Optimizer):  # fp32 without ZeRO: the weights are their own masters
        return {"masters": parameter, **{kind: optimizer.state[parameter][kind] for kind in kinds}}
    if isinstance(optimizer, FP16_UnfusedOptimizer):  # bf16 without ZeRO
        pairs = zip(chain(*optimizer.fp16_groups), chain(*optimizer.fp32_groups), strict=True)
        master = next(master for low, master in pairs if low is parameter)
        return {"masters": master, **{kind: optimizer.optimizer.state[master][kind] for kind in kinds}}
    moments = {kind: safe_get_full_optimizer_state(parameter, kind) for kind in kinds}
    return {"masters": safe_get_full_fp32_param(parameter), **moments}
