"""A teacher in this process: vLLM's asynchronous engine.

Knows vLLM's requests and results. Used inside the pool's actors; the served teacher speaks HTTP instead.
Log-probabilities come as flat lists: vLLM's default (a dict per position) scores a third as fast.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Sampling
from pipelines.core.records import Completion, SoftTargets
from pipelines.core.signals import pack
from pipelines.generate.teacher import Request, RequestFailed, ScoreRequest, TeacherGone


class VLLMTeacher:
    """Holds one engine; any number of requests may be under way."""

    def __init__(self, digest: str, tokenizer: ChatTokenizer, engine_args: dict[str, Any]) -> None:
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self._digest, self._tokenizer = digest, tokenizer
        self.stirred_at = 0.0  # when the engine last wrote a token (see patience.Patient)
        args = AsyncEngineArgs(**engine_args, enable_log_requests=False)
        self._engine = AsyncLLM.from_engine_args(args, stat_loggers=[_pulse(self)])

    async def write(self, request: Request) -> Completion:
        began = time.monotonic()
        prompt_ids = request.prompt_ids(self._tokenizer)
        output = await self._last(request.id, prompt_ids, sampling_params(request.sampling, request.seed))
        said = output.outputs[0]
        return Completion(
            request.id,
            self._digest,
            request.prompt,
            said.text,
            tuple(said.token_ids),
            str(said.finish_reason),
            prompt_tokens=len(prompt_ids),
            output_tokens=len(said.token_ids),
            seconds=time.monotonic() - began,
        )

    async def score(self, request: ScoreRequest) -> SoftTargets:
        from vllm import SamplingParams

        params = SamplingParams(
            max_tokens=1, temperature=0.0, prompt_logprobs=request.k, flat_logprobs=True, detokenize=False
        )
        output = await self._last(request.id, request.token_ids, params)
        ids_PK, logprobs_PK = _top_k(output.prompt_logprobs, request)
        return pack(request.id, request.example_id, request.positions, ids_PK, logprobs_PK)

    def close(self) -> None:
        self._engine.shutdown()

    async def _last(self, id: str, token_ids: Sequence[int], params: Any) -> Any:
        """The finished output of one request; what vLLM says of this request alone is RequestFailed."""
        from vllm.exceptions import VLLMClientError
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        params.output_kind = RequestOutputKind.FINAL_ONLY
        final = None
        try:
            async for output in self._engine.generate({"prompt_token_ids": list(token_ids)}, params, id):
                final = output
        except VLLMClientError as error:  # too long for the window, and the like
            raise RequestFailed(str(error)) from error
        except EngineGenerateError as error:
            raise RequestFailed(repr(error.__cause__)) from error
        except EngineDeadError as error:
            raise TeacherGone(str(error)) from error
        assert final is not None, f"vLLM ended request {id} without an output"
        return final


def _pulse(teacher: VLLMTeacher) -> Any:
    """A statistics logger that only notes when the engine brings forth something."""
    from vllm.v1.metrics.loggers import StatLoggerBase

    class Pulse(StatLoggerBase):
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None: ...

        def record(self, scheduler_stats: Any, iteration_stats: Any, *more: Any, **named: Any) -> None:
            if iteration_stats is not None:  # None for a step without output: a request that is never scheduled
                teacher.stirred_at = time.monotonic()

        def log_engine_initialized(self) -> None: ...

    return Pulse


def sampling_params(sampling: Sampling, seed: int) -> Any:
    """A recipe's sampling as vLLM's."""
    from vllm import SamplingParams

    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        min_p=sampling.min_p,
        presence_penalty=sampling.presence_penalty,
        max_tokens=sampling.max_tokens,
        stop=list(sampling.stop),
        seed=seed,
    )


def _top_k(flat: Any, request: ScoreRequest) -> tuple[Any, Any]:
    """Arrays [positions, k] out of vLLM's flat lists.

    A position holds the actual token first, then the top k; where the actual token is outside the top k there
    are k + 1 entries and it is left out, or the tail's mass would be counted short.
    """
    ids, logprobs = [], []
    for position in request.positions:
        start, stop = flat.start_indices[position], flat.end_indices[position]
        pairs = dict(zip(flat.token_ids[start:stop], flat.logprobs[start:stop], strict=True))
        best = sorted(pairs.items(), key=lambda pair: -pair[1])[: request.k]
        ids.append([token for token, _ in best])
        logprobs.append([value for _, value in best])
    return np.asarray(ids, dtype=np.int64), np.asarray(logprobs, dtype=np.float64)
