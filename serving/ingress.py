"""The ingress in front of the engines, which outlives any of them.

Knows Ray Serve LLM's ingress, and what comes of a request whose engine dies. While nothing of an answer has come, the
request is put again, to whichever replica is there; an answer that has begun ends with an error that says so. None is
lost without a word, and both are counted. Does not know who asks.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.llm.ingress import OpenAiIngress
from ray.serve.metrics import Counter
from vllm.v1.engine.exceptions import EngineDeadError

from serving.refusals import Refused, error_of

DEATH = str(EngineDeadError())  # vLLM answers in these words, as if they were the model's
# Seconds before each further try: until Serve knows of the death it may choose the dead one.
WAITS_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


class Ingress(OpenAiIngress):
    """Stock, but for engines that die."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._again = Counter("tutelage_asked_again", "Requests put again, as their engine died.", ("model",))
        self._broken = Counter("tutelage_broken_off", "Answers that ended early, as their engine died.", ("model",))

    async def _get_response(self, **asked: Any) -> AsyncGenerator[Any, None]:
        """What the engine says, piece by piece; all of it at once where the client wants no stream."""
        of = {"model": str(asked["body"].model or "")}
        for wait_s in WAITS_S:
            begun = False
            try:
                async for piece in super()._get_response(**asked):
                    if _tells_death(piece):
                        raise EngineDeadError
                    begun = True
                    yield piece
                return
            except (RayActorError, EngineDeadError):  # the replica, or the engine's process beside it
                if begun:
                    self._broken.inc(1, of)
                    yield _last_event()
                    return
                self._again.inc(1, of)
            await asyncio.sleep(wait_s)
        raise Refused(503, "the model's engine died again and again at this request", "engine_died")


def _tells_death(piece: Any) -> bool:
    """Whether among these events, or in this whole answer, is vLLM's error."""
    if isinstance(piece, list):
        return any(map(_tells_death, piece))
    if isinstance(piece, str):
        return piece.startswith('data: {"error"') and DEATH in piece
    return getattr(getattr(piece, "error", None), "message", "") == DEATH


def _last_event() -> str:
    """An error within a stream, as OpenAI's client reads it."""
    words = "the model's engine died while it wrote; what has come is not whole"
    return f"data: {json.dumps(error_of(503, words, 'engine_died'))}\n\n"
