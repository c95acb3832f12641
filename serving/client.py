"""A client of our endpoints, through the `openai` package like any other client.

Knows the OpenAI API and vLLM's additions to it (prompts as token ids, prompt log-probabilities). Implements the
Teacher protocol, so a served model can write and score for any stage.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Sampling
from pipelines.core.records import Completion, SoftTargets
from pipelines.core.signals import pack
from pipelines.generate.teacher import Request, RequestFailed, ScoreRequest

AT_ONCE = 256


@dataclass(frozen=True)
class Said:
    """A chat answer."""

    text: str
    finish_reason: str
    output_tokens: int


class ServedModel:
    """One model behind an OpenAI-compatible address. Belongs to one event loop."""

    def __init__(self, base_url: str, name: str, tokenizer: ChatTokenizer, digest: str = "") -> None:
        from openai import AsyncOpenAI

        self._client = AsyncOpenAI(base_url=base_url, api_key="none", max_retries=3, timeout=3600)
        self._name, self._tokenizer, self._digest = name, tokenizer, digest
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def write(self, request: Request) -> Completion:
        options = _sampling(request.sampling, request.seed)
        choice, usage = await self._complete(request.prompt_ids(self._tokenizer), options, return_token_ids=True)
        ids = tuple(choice.token_ids)
        return Completion(
            request.id,
            self._digest,
            request.prompt,
            choice.text,
            ids,
            str(choice.finish_reason),
            usage.prompt_tokens,
            len(ids),
        )

    async def score(self, request: ScoreRequest) -> SoftTargets:
        choice, _ = await self._complete(request.token_ids, _GREEDY, prompt_logprobs=request.k)
        ids, logprobs = [], []
        for position in request.positions:
            entries = choice.prompt_logprobs[position].items()
            # k + 1 entries where the actual token is outside the top k: it is left out of the candidates.
            best = sorted(((int(t), e["logprob"]) for t, e in entries), key=lambda pair: -pair[1])[: request.k]
            ids.append([token for token, _ in best])
            logprobs.append([value for _, value in best])
        return pack(request.id, request.example_id, request.positions, np.asarray(ids), np.asarray(logprobs))

    async def logprobs(self, token_ids: list[int]) -> list[float]:
        """Log-probability of each token given those before it; 0.0 for the first, which has none."""
        choice, _ = await self._complete(token_ids, _GREEDY, prompt_logprobs=0)
        later = zip(token_ids[1:], choice.prompt_logprobs[1:], strict=True)
        return [0.0] + [float(entries[str(token)]["logprob"]) for token, entries in later]

    async def chat(self, user_turn: str, sampling: Sampling, seed: int) -> Said:
        """Answer one user turn by the model's own chat template. Raises RequestFailed where it is refused."""
        from openai import BadRequestError

        messages = [{"role": "user", "content": user_turn}]
        async with self._slots:
            try:
                response = await self._client.chat.completions.create(
                    model=self._name, messages=messages, **_sampling(sampling, seed)
                )
            except BadRequestError as error:
                raise RequestFailed(str(error)) from error
        choice = response.choices[0]
        return Said(choice.message.content or "", str(choice.finish_reason), response.usage.completion_tokens)

    async def close(self) -> None:
        await self._client.close()

    async def _complete(self, token_ids: Sequence[int], options: dict[str, Any], **more: Any) -> tuple[Any, Any]:
        """One completion of token ids; `more` are vLLM's own request fields."""
        from openai import BadRequestError

        extra = {**options.get("extra_body", {}), **more}
        async with self._slots:
            try:
                response = await self._client.completions.create(
                    model=self._name, prompt=list(token_ids), **{**options, "extra_body": extra}
                )
            except BadRequestError as error:  # this prompt is refused; the others go on
                raise RequestFailed(str(error)) from error
        return response.choices[0], response.usage


_GREEDY: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0}


def _sampling(sampling: Sampling, seed: int) -> dict[str, Any]:
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "max_tokens": sampling.max_tokens,
        "stop": list(sampling.stop) or None,
        "seed": seed,
        "extra_body": {"min_p": sampling.min_p},
    }
