"""The process that holds an engine, which ends when its engine has died.

Knows Ray Serve LLM's server, and how Serve learns that one is gone: of a process that ended at once, of a look that
failed only at the third, and until then it hands out requests to be refused.
"""

import os

from ray.serve.llm.deployment import LLMServer
from vllm.v1.engine.exceptions import EngineDeadError


class EngineServer(LLMServer):
    """Stock, but for that end. Serve asks after its health every so many seconds."""

    async def check_health(self) -> None:
        try:
            await super().check_health()
        except EngineDeadError:
            os._exit(1)
