"""Load on an OpenAI-compatible address: clients that ask one after another, and what became of each request.

Knows streams, seconds, and the ways in which a request ends. Does not know what stands behind the address.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Literal

import httpx2
import numpy as np
import openai

# An answer whole; one that ended early with an error that says so; no answer, with words; and silence.
Outcome = Literal["whole", "broken off", "refused", "lost"]


@dataclass(frozen=True)
class Load:
    """What is asked, and by how many at once."""

    base_url: str  # …/v1
    model: str
    key: str
    prompts: Sequence[str]  # one after the other, and again from the first
    requests: int
    clients: int
    max_tokens: int
    timeout_s: float = 600.0


@dataclass(frozen=True)
class Got:
    """What became of one request."""

    outcome: Outcome
    seconds: float
    first_s: float | None  # until the first word; None where none came
    tokens: int
    why: str = ""


async def put(load: Load, each: Callable[[Got], None] = lambda _: None) -> tuple[list[Got], float]:
    """(what became of the requests, the seconds that all took); `each` is told as they end."""
    asked = enumerate(islice(cycle(load.prompts), load.requests))
    got: list[Got] = []

    async def client(api: openai.AsyncOpenAI, mine: Iterator[tuple[int, str]]) -> None:
        for number, prompt in mine:
            got.append(await _ask(api, load, number, prompt))
            each(got[-1])

    began = time.monotonic()
    async with openai.AsyncOpenAI(
        base_url=load.base_url, api_key=load.key, max_retries=0, timeout=load.timeout_s
    ) as api:
        await asyncio.gather(*(client(api, asked) for _ in range(load.clients)))
    return got, time.monotonic() - began


async def _ask(api: openai.AsyncOpenAI, load: Load, number: int, prompt: str) -> Got:
    began, first_s, tokens, ended = time.monotonic(), None, 0, False
    outcome: Outcome = "lost"
    why = ""
    try:
        stream = await api.chat.completions.create(
            model=load.model, messages=[{"role": "user", "content": prompt}], max_tokens=load.max_tokens,
            temperature=0.7, seed=number, stream=True, stream_options={"include_usage": True},
        )  # fmt: skip
        async for chunk in stream:
            if chunk.usage:
                tokens = chunk.usage.completion_tokens
            for choice in chunk.choices:
                ended = ended or choice.finish_reason is not None
                if choice.delta.content and first_s is None:
                    first_s = time.monotonic() - began
        outcome = "whole" if ended else "lost"
    except openai.APIStatusError as error:
        outcome, why = "refused", f"{error.status_code}: {error.message}"
    except (openai.APIConnectionError, httpx2.HTTPError) as error:
        why = str(error)
    except openai.APIError as error:  # an event within the stream
        outcome, why = "broken off", error.message
    return Got(outcome, time.monotonic() - began, first_s, tokens, why)


def told(got: Sequence[Got], seconds: float) -> dict[str, Any]:
    """Figures of a load: requests by outcome, tokens/s, and the median and 95th percentile of seconds."""
    whole = [one for one in got if one.outcome == "whole"]
    return {
        "outcomes": dict(Counter(one.outcome for one in got)),
        "tokens_per_s": sum(one.tokens for one in whole) / seconds,
        "first_word_s": _percentiles([one.first_s for one in whole if one.first_s is not None]),
        "answer_s": _percentiles([one.seconds for one in whole]),
        "why": dict(Counter(one.why for one in got if one.why)),
    }


def _percentiles(seconds: Sequence[float]) -> tuple[float, float] | None:
    """(p50, p95), where there is anything to tell of."""
    if not seconds:
        return None
    p50, p95 = np.quantile(seconds, [0.5, 0.95])
    return float(p50), float(p95)
