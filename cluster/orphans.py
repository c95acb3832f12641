"""Ends a vLLM engine process whose parent has gone.

vLLM runs each engine in a process of its own, which outlives a killed parent and keeps its memory and port. vLLM
loads this as a plugin (`vllm.general_plugins` in pyproject.toml) in every one of its processes; in those that were
started by another one, a thread waits for that one's end.
"""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def watch() -> None:
    """Watch over the parent, where this process is an engine's or a worker's own."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True, name="parent-watch").start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
