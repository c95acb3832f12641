"""Lets a CPU engine's process sleep while it waits for its worker's results.

Between an engine and a worker process of its own, vLLM reads shared memory in a busy loop, which on a GPU machine costs
a core that has nothing else to do; on a CPU it takes a third of a core from the worker it waits for. vLLM's own idle
mode, a socket that the writer pings, is there from the start instead of after a second. Pings that follow each other
closely are lost (the socket holds one), and vLLM looks again after five seconds, in which a small model would have
written hundreds of tokens; here it looks after a few milliseconds. Loaded as a vLLM plugin (`vllm.general_plugins` in
pyproject.toml), as there is no setting for either.
"""

RECHECK_MS = 3


def calm() -> None:
    """Wait for a ping at once, and not long for one that was lost, where this machine's vLLM runs on the CPU."""
    from vllm.distributed.device_communicators import shm_broadcast
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        spins = shm_broadcast.SpinCondition.__init__.__defaults__
        recheck_ms = shm_broadcast.SHM_READER_RECHECK_INTERVAL_MS
        assert spins in ((1,), (0,)), "vLLM waits in another way now; see above"
        assert recheck_ms in (5000, RECHECK_MS), "vLLM waits for lost pings in another way now; see above"
        shm_broadcast.SpinCondition.__init__.__defaults__ = (0,)
        shm_broadcast.SHM_READER_RECHECK_INTERVAL_MS = RECHECK_MS
