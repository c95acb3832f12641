"""The one place that turns a recipe's model into vLLM arguments: for a pool's actor, or for Ray Serve.

Knows vLLM's and Ray Serve LLM's settings on CPU and GPU. Does not know what the engine will be asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.adapters import LARGEST_RANK, Adapter
from cluster.placement import Bundle
from cluster.session import Session
from pipelines.core.config import Engine

MAX_LOGPROBS = 1024  # what a request may ask for; vLLM refuses more than 20 unless told
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, LARGEST_RANK)  # for which vLLM has kernels
# The prefix cache keeps whole blocks, and a CPU's are of 128 tokens unless told: more than a question has.
CHOOSER = {"logits_processors": ["cluster.forced:Forced"], "block_size": 32}


@dataclass(frozen=True)
class EngineSetup:
    """How one engine is started: vLLM's arguments, its process environment, and the Ray resources of each worker."""

    args: dict[str, Any]
    env: dict[str, str]
    bundles: tuple[Bundle, ...]
    strategy: str = "PACK"


def setup(folder: Path, engine: Engine, session: Session) -> EngineSetup:
    """Arguments for one replica of this model on this cluster, as the model's role has it."""
    args: dict[str, Any] = {
        "model": str(folder),
        "dtype": engine.dtype,
        "max_model_len": engine.max_model_len,
        "max_num_seqs": engine.max_num_seqs,
        "enforce_eager": engine.enforce_eager,
        "tensor_parallel_size": engine.tensor_parallel_size,
        "pipeline_parallel_size": engine.pipeline_parallel_size,
        "quantization": engine.quantization,
        "max_logprobs": MAX_LOGPROBS,
        "enable_prefix_caching": True,
        # Else the model folder's generation_config would change sampling behind the recipe's back.
        "generation_config": "vllm",
    }
    env = {"VLLM_LOGGING_LEVEL": "WARNING", "TOKENIZERS_PARALLELISM": "false"}
    if session.on_gpu:
        args["gpu_memory_utilization"] = engine.gpu_memory_utilization
        if engine.gpus > 1:  # its workers are Ray's, in the bundles, which may lie on several nodes
            args["distributed_executor_backend"] = "ray"
        return EngineSetup(args, env, (session.bundle,) * engine.gpus, session.strategy)
    # A prompt cut over two steps makes vLLM 0.29 rewind that request's seeded generator, which a CPU generator
    # cannot do: the engine dies ("CPU Generator does not use offset"). So prompts are never cut on CPU.
    args["enable_chunked_prefill"] = False
    args["max_num_batched_tokens"] = max(4096, engine.max_model_len)
    env |= {
        "VLLM_CPU_KVCACHE_SPACE": f"{max(1, round(engine.kv_cache_gib))}",
        # The default binds threads to cores and keeps one core free; here other processes share them.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(session.threads),
    }
    if engine.gpus == 1:
        # The engine's process does its own computing: one more beside it would import everything once more (20 s).
        # vLLM's asynchronous engine has that process whatever the variable says; but unless it says 0, vLLM's CPU
        # platform silently makes `uni` into `mp`.
        args["distributed_executor_backend"] = "uni"
        env["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return EngineSetup(args, env, (session.bundle,), session.strategy)


@dataclass(frozen=True)
class Replicas:
    """How many engines Serve keeps of one model. With a `min` of 0 the first request starts one, and waits for it."""

    min: int = 1
    max: int = 1


ONE = Replicas()


def serve_config(
    model_name: str,
    replica: EngineSetup,
    replicas: Replicas = ONE,
    adapters: Sequence[Adapter] = (),
    is_chooser: bool = False,
) -> dict[str, Any]:
    """The fields of a `ray.serve.llm.LLMConfig` for one served model, and the adapters that its engines hold too.

    A chooser's engines can be made to write given tokens (`forced.py`). Others are not: vLLM would have every step wait
    for the tokens of the one before.
    """
    # Ray Serve LLM names the model itself, and on CPU insists on a worker process of its own.
    set_by_serve = ("model", "distributed_executor_backend")
    kwargs = {name: value for name, value in replica.args.items() if name not in set_by_serve}
    at_once = replica.args["max_num_seqs"]
    return {
        "model_loading_config": {"model_id": model_name, "model_source": replica.args["model"]},
        "placement_group_config": {
            "bundles": [dict(bundle) for bundle in replica.bundles],
            "strategy": replica.strategy,
        },
        "deployment_config": {
            # An engine writes many answers at once, and only then is one more of it any use.
            "autoscaling_config": {
                "min_replicas": replicas.min,
                "max_replicas": replicas.max,
                "target_ongoing_requests": at_once,
            },
            "max_ongoing_requests": 4 * at_once,
            "health_check_period_s": 2.0,  # by which an engine that died is found
        },
        "engine_kwargs": kwargs | (_lora(adapters) if adapters else {}) | (CHOOSER if is_chooser else {}),
        "runtime_env": {"env_vars": replica.env},
        "log_engine_metrics": False,
    }


def _lora(adapters: Sequence[Adapter]) -> dict[str, Any]:
    return {
        "enable_lora": True,
        "max_loras": len(adapters),
        "max_lora_rank": next(rank for rank in LORA_RANKS if rank >= max(a.rank for a in adapters)),
        "lora_modules": [{"name": adapter.name, "path": str(adapter.folder)} for adapter in adapters],
    }
