"""Models behind an OpenAI-compatible address, as teachers (see teacher.Teacher).

Knows what to put into a request and how to read the answer. `HostedModel` is asked in words and writes: any API.
`ServedModel` is asked in token ids, vLLM's addition, and scores too: our own endpoints, or a user's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.core.chat import ChatTokenizer, as_messages
from pipelines.core.config import HTTPTeacher, Sampling
from pipelines.core.records import Completion, Likelihood, SoftTargets
from pipelines.core.signals import pack
from pipelines.generate.likelihood import LikelihoodRequest
from pipelines.generate.teacher import Request, RequestFailed, ScoreRequest
from serving.api import Address, Answered, Api

CHAT, COMPLETIONS = "chat/completions", "completions"
FORCED = "forced_tokens"  # what `cluster/forced.py` looks for
CHARACTERS_PER_TOKEN = 3  # for the pace only, which is set right by what the reply tells


class HostedModel:
    """A model whose tokens we do not know. It takes conversations (`chat`) or documents to go on with."""

    def __init__(
        self, api: Api, model: str, digest: str, *, chat: bool, extra: Mapping[str, Any] | None = None
    ) -> None:
        self._api, self._model, self._digest, self._chat, self._extra = api, model, digest, chat, extra or {}

    async def write(self, request: Request) -> Completion:
        assert request.is_chat == self._chat, "preflight lets no prompt through that this API cannot take"
        asked: dict[str, Any] = {"messages": request.messages} if self._chat else {"prompt": request.prompt}
        sampling = request.sampling
        min_p = {"min_p": sampling.min_p} if sampling.min_p else {}  # not every API knows it
        body = {"model": self._model, **asked, **_drawn(sampling, request.seed), **min_p, **self._extra}
        read = sum(map(len, (*request.earlier, request.prompt)))
        most_tokens = read // CHARACTERS_PER_TOKEN + sampling.max_tokens
        answered = await self._api.ask(CHAT if self._chat else COMPLETIONS, _without_nulls(body), most_tokens)
        return _completion(request, self._digest, answered)

    async def score(self, request: ScoreRequest) -> SoftTargets:
        raise AssertionError("the recipe lets no such teacher be asked for signals")


class ServedModel:
    """A model on a vLLM server. Its requests name every sampling setting, as a server may have defaults of its own."""

    def __init__(
        self, api: Api, model: str, tokenizer: ChatTokenizer, digest: str = "", extra: Mapping[str, Any] | None = None
    ) -> None:
        self._api, self._model, self._tokenizer, self._digest = api, model, tokenizer, digest
        self._extra = extra or {}

    async def write(self, request: Request) -> Completion:
        sampling = request.sampling
        settings = {"min_p": sampling.min_p, "top_k": 0, "repetition_penalty": 1.0, "return_token_ids": True}
        options = {**_drawn(sampling, request.seed), **settings, **self._extra}
        answered = await self._complete(request.prompt_ids(self._tokenizer), options, sampling.max_tokens)
        return _completion(request, self._digest, answered)

    async def score(self, request: ScoreRequest) -> SoftTargets:
        entries_P = await self._prompt_logprobs(request.token_ids, request.k)
        ids, logprobs = [], []
        for position in request.positions:
            # k + 1 entries where the actual token is outside the top k: it is left out of the candidates.
            best = sorted(entries_P[position].items(), key=lambda pair: -pair[1])[: request.k]
            ids.append([token for token, _ in best])
            logprobs.append([value for _, value in best])
        return pack(request.id, request.example_id, request.positions, np.asarray(ids), np.asarray(logprobs))

    async def logprobs(self, token_ids: list[int]) -> list[float]:
        """Log-probability of each token given those before it; 0.0 for the first, which has none."""
        entries_P = await self._prompt_logprobs(token_ids, 0)
        return [0.0] + [entries[token] for token, entries in zip(token_ids[1:], entries_P[1:], strict=True)]

    async def continued(self, token_ids: Sequence[int], behind: Sequence[int]) -> list[float]:
        """Log-probability of each of the tokens `behind`; where several stand behind the same, that is read once.

        RequestFailed where the server's engine cannot be made to write given tokens (`cluster/forced.py`).
        """
        forced = {"vllm_xargs": {FORCED: list(behind)}, "ignore_eos": True, "return_token_ids": True}
        options = {"max_tokens": len(behind), "temperature": 0.0, "logprobs": 0, **forced}
        choice = (await self._complete(token_ids, options, len(behind))).choice
        told = choice.logprobs.token_logprobs if choice.logprobs else []
        logprobs = [value for value in told if value is not None]
        if choice.token_ids != list(behind) or len(logprobs) != len(behind):
            raise RequestFailed("the reply tells of other tokens than were to be written")
        return logprobs

    async def likelihood(self, request: LikelihoodRequest) -> Likelihood:
        """How likely the tokens behind the request's context are, and whether each is the likeliest where it stands."""
        entries_P = await self._prompt_logprobs(request.token_ids, 1)
        if len(entries_P) != request.tokens:
            raise RequestFailed(
                f"the reply tells of {len(entries_P)} tokens where {request.tokens} were sent: the server adds tokens "
                "of its own, or leaves some away"
            )
        scored = list(zip(request.token_ids, entries_P, strict=True))[request.start :]
        if any(token not in entries for token, entries in scored):
            raise RequestFailed("the reply tells of other tokens than were sent")
        logprobs = tuple(entries[token] for token, entries in scored)
        is_greedy = all(entries[token] >= max(entries.values()) for token, entries in scored)
        return Likelihood(request.id, logprobs, is_greedy)

    async def read(self, text: str) -> tuple[int, ...]:
        """The ids that the server's own tokenizer makes of a document."""
        body = {"model": self._model, "prompt": text, "max_tokens": 1, "temperature": 0.0, "return_token_ids": True}
        told = (await self._api.ask(COMPLETIONS, body, len(text) + 1)).choice.prompt_token_ids
        if told is None:
            raise RequestFailed("the reply has no prompt_token_ids; is this a vLLM server?")
        return tuple(told)

    async def rendered(self, user_turn: str) -> int:
        """How many tokens the server's own chat template makes of a user's turn."""
        messages = as_messages([user_turn])
        body = {"model": self._model, "messages": messages, "max_tokens": 1, "temperature": 0.0}
        return (await self._api.ask(CHAT, body, len(user_turn) + 1)).prompt_tokens

    async def _prompt_logprobs(self, token_ids: Sequence[int], k: int) -> list[dict[int, float]]:
        """token -> log-probability at each position; none at the first."""
        options = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": k}
        answered = await self._complete(token_ids, options, 1)
        told = answered.choice.prompt_logprobs
        if told is None:
            raise RequestFailed("the reply has no prompt_logprobs; is this a vLLM server?")
        return [{token: entry.logprob for token, entry in (entries or {}).items()} for entries in told]

    async def _complete(self, token_ids: Sequence[int], options: Mapping[str, Any], max_tokens: int) -> Answered:
        body = {"model": self._model, "prompt": list(token_ids), **options}
        return await self._api.ask(COMPLETIONS, _without_nulls(body), len(token_ids) + max_tokens)


def address(name: str, spec: HTTPTeacher) -> Address:
    """Where a recipe's teacher is, and how it wants to be asked."""
    return Address(
        spec.base_url,
        f"teachers.{name}",
        spec.api_key_env or "",
        spec.at_once,
        spec.retries,
        spec.timeout_s,
        spec.requests_per_minute,
        spec.tokens_per_minute,
    )


def _drawn(sampling: Sampling, seed: int) -> dict[str, Any]:
    """How tokens are drawn, in the fields that every API knows."""
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "max_tokens": sampling.max_tokens,
        "stop": list(sampling.stop) or None,
        "seed": seed,
    }


def _without_nulls(body: Mapping[str, Any]) -> dict[str, Any]:
    """A null in `extra_body` takes one of our fields away."""
    return {name: value for name, value in body.items() if value is not None}


def _completion(request: Request, digest: str, answered: Answered) -> Completion:
    choice = answered.choice
    return Completion(
        request.id,
        digest,
        request.prompt,
        choice.said,
        tuple(choice.token_ids or ()),
        choice.finish_reason or "unknown",
        answered.prompt_tokens,
        answered.output_tokens,
        answered.retries,
        answered.seconds,
    )
