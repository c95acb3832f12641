"""Lets a CPU engine's process sleep while it waits for its worker's results.

Between an engine and a worker process of its own, vLLM reads shared memory in a busy loop, which on a GPU machine costs
a core that has nothing else to do; on a CPU it takes a third of a core from the worker it waits for. vLLM's own idle
mode, a socket that the writer pings, is there from the start instead of after a second. Loaded as a vLLM plugin
(`vllm.general_plugins` in pyproject.toml), as there is no setting for it.
"""


def calm() -> None:
    """Wait for a ping at once, where this machine's vLLM runs on the CPU."""
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        assert SpinCondition.__init__.__defaults__ in ((1,), (0,)), "vLLM waits in another way now; see above"
        SpinCondition.__init__.__defaults__ = (0,)
