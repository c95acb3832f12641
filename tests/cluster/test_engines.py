"""A recipe's engine as vLLM's arguments and Ray's resources, on CPU and GPU machines that need not be here."""

from pathlib import Path
from typing import Any

import pytest

from cluster.engines import serve_config, setup
from cluster.session import Session
from pipelines.core.config import Engine

CPU, GPU = Session("here", Path("logs"), gpus=0, threads=2), Session("there", Path("logs"), gpus=8, threads=2)


@pytest.mark.parametrize(
    ("engine", "bundles", "executor"),
    [
        ({}, ({"GPU": 1, "CPU": 1},), None),
        ({"tensor_parallel_size": 4}, ({"GPU": 1, "CPU": 1},) * 4, "ray"),
        ({"tensor_parallel_size": 4, "pipeline_parallel_size": 2}, ({"GPU": 1, "CPU": 1},) * 8, "ray"),
    ],
)
def test_an_engine_over_gpus_has_a_bundle_for_each(
    engine: dict[str, Any], bundles: tuple[dict[str, int], ...], executor: str | None
) -> None:
    made = setup(Path("model"), Engine(**engine), GPU)
    assert made.bundles == bundles
    assert made.args.get("distributed_executor_backend") == executor
    assert made.args["pipeline_parallel_size"] == engine.get("pipeline_parallel_size", 1)
    assert serve_config("teacher", made)["placement_group_config"] == {"bundles": list(bundles), "strategy": "PACK"}


def test_quantisation_reaches_vllm() -> None:
    assert setup(Path("model"), Engine(quantization="fp8"), GPU).args["quantization"] == "fp8"


def test_on_a_cpu_the_engine_is_its_own_worker_and_cuts_no_prompt() -> None:
    made = setup(Path("model"), Engine(), CPU)
    assert made.bundles == ({"CPU": 1},)
    assert made.args["distributed_executor_backend"] == "uni"
    assert made.args["enable_chunked_prefill"] is False
    assert made.env["OMP_NUM_THREADS"] == "2"


@pytest.mark.engine  # imports vLLM
def test_vllm_leaves_a_cpu_engine_without_a_worker(monkeypatch: pytest.MonkeyPatch, tiny_llama: Path) -> None:
    from vllm import AsyncEngineArgs
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        pytest.skip("this vLLM is not for CPUs")
    made = setup(tiny_llama, Engine(max_model_len=64), CPU)
    for name, value in made.env.items():
        monkeypatch.setenv(name, value)
    assert AsyncEngineArgs(**made.args).create_engine_config().parallel_config.distributed_executor_backend == "uni"


@pytest.mark.engine  # imports vLLM
def test_a_cpu_engine_sleeps_while_its_worker_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the plugin changes is still what vLLM has."""
    from vllm.distributed.device_communicators import shm_broadcast

    from cluster.spin import RECHECK_MS, calm

    default = shm_broadcast.SpinCondition.__init__.__defaults__
    assert default in ((1,), (0,))  # (0,) where vLLM has loaded the plugin
    monkeypatch.setattr(shm_broadcast, "SHM_READER_RECHECK_INTERVAL_MS", 5000)
    try:
        calm()
        assert shm_broadcast.SpinCondition.__init__.__defaults__ == (0,)
        queue = shm_broadcast.MessageQueue.ReadTimeoutWithWarnings(timeout=None, should_warn=False)
        assert queue.timeout_ms() == RECHECK_MS
    finally:
        shm_broadcast.SpinCondition.__init__.__defaults__ = default
