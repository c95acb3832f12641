"""Connects to a Ray cluster, or starts one on this machine.

Knows Ray's session and where its logs lie. Does not know models or stages. A local session has more CPU slots
than cores: an idle engine holds a slot, not a core, and a slot too few would be a deadlock.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import Unreachable

LOCAL_SLOTS = 16


@dataclass(frozen=True)
class Session:
    """A live connection. `logs` is where engine and worker logs are written."""

    address: str
    logs: Path
    gpus: int
    threads: int  # CPU threads that one engine or training worker may use

    @property
    def on_gpu(self) -> bool:
        return self.gpus > 0


@contextmanager
def session(address: str | None = None) -> Iterator[Session]:
    """Connect to `address`, or start a local cluster that ends with this process."""
    import ray

    _quiet()
    if address is None:
        _start_here()
    else:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    quiet_logs()
    # What raylets report (slow starts, lost workers) is in the session's logs; `log_to_driver` does not cover it.
    ray._private.worker._worker_logs_enabled = False
    try:
        yield joined()
    finally:
        ray.shutdown()


def joined() -> Session:
    """The session that this process is in already: as a driver, or as a part of what one has started."""
    import ray

    logs = ray._private.worker.global_worker.node.get_logs_dir_path()
    gpus = int(ray.cluster_resources().get("GPU", 0))
    return Session(ray.get_runtime_context().gcs_address, Path(logs), gpus, os.cpu_count() or 1)


def _start_here() -> None:
    """A local cluster. Unreachable where this machine is too busy to start it in Ray's own time."""
    import ray

    try:
        ray.init(
            address="local",  # never a cluster that happens to run here: --address asks for that
            num_cpus=max(LOCAL_SLOTS, os.cpu_count() or 1),
            include_dashboard=True,  # without it Ray Train logs a failed query every second
            dashboard_host="127.0.0.1",
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
        )
    except Exception as error:  # Ray has no class for it
        if "timed out during startup" not in str(error):
            raise
        raise Unreachable(
            "Ray did not start within its 30 seconds: this machine is very busy. What is done is kept; the same "
            "command goes on from there"
        ) from error


def _quiet() -> None:
    """Engine and data logs go to files; the terminal belongs to progress."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    quiet_logs()
    warnings.filterwarnings("ignore", module="ray")


def quiet_logs() -> None:
    """Libraries set their loggers to INFO, and a handler on the terminal, when they start; call this after."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.ERROR)
    for name in ("ray", "ray.data", "ray.serve", "ray.train", "httpx", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.ERROR)
