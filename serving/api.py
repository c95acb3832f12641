"""One OpenAI-compatible address: how much is under way, at what pace, with what patience, and what failures mean.

Knows the `openai` client, keys and the shape of replies. Does not know what is asked (`client.py` does). The client
brings the requests there and back as any user's would; patience and meaning are ours, as its own retries know no row.
What comes back:

    401, 402, 403                  UserError: the key is not accepted, which ends the run
    other 4xx                      RequestFailed at once: this request is refused
    404, 408, 409, 429, 5xx, no connection, no answer in time, a reply that cannot be read
                                   tried again, then RequestFailed; so many of these in a row: Unreachable

A key is read from its environment variable into the request's header, and taken out of every message.
"""

import asyncio
import logging
import os
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any

import httpx2
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.core.errors import Unreachable, UserError
from pipelines.generate.teacher import RequestFailed, TimedOut
from serving.pace import Pace

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0  # between tries, where the API does not say
PATIENCE_S = 600.0  # a longer Retry-After is not waited for
CONNECT_S = 15.0
LOST_IN_A_ROW = 8  # requests that used up their tries, with no answer to another in between
# 404 says nothing of a request: its path or model is not there, or not yet, and no row is to lose by that.
NO_KEY, AGAIN = {401, 402, 403}, {404, 408, 409, 429}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Address:
    """Where an API is, and how it wants to be asked. Holds the name of the key's variable, never the key."""

    base_url: str
    named: str  # what messages call it: a recipe's key
    key_from: str = ""  # environment variable; "" where no key is needed
    at_once: int = 256
    retries: int = 6
    timeout_s: float = 3600
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None

    def key(self) -> str:
        """UserError where the variable is not set, or holds what no header can carry."""
        if not self.key_from:
            return ""
        key = os.environ.get(self.key_from, "").strip()
        if not key:
            raise UserError(f"{self.named}.api_key_env: the environment variable {self.key_from} is not set")
        if not (key.isascii() and key.isprintable()):
            raise UserError(
                f"{self.named}.api_key_env: the value of {self.key_from} is not one line of plain characters"
            )
        return key


class _Message(BaseModel):
    content: str | None = None


class _Candidate(BaseModel):
    logprob: float


class _OfTokens(BaseModel):
    token_logprobs: list[float | None] = []  # a chat's have another shape, and nobody here asks for them


class Choice(BaseModel):
    """One answer: a chat's has a message, a document's a text; the rest comes from vLLM where it is asked for."""

    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    prompt_logprobs: list[dict[int, _Candidate] | None] | None = None
    logprobs: _OfTokens | None = None
    target_logprobs: list[float] | None = None  # of given texts; our encoder-decoders tell them

    @model_validator(mode="after")
    def _says_something(self) -> "Choice":
        if self.message is None and self.text is None:
            raise ValueError("neither message nor text")
        return self

    @property
    def said(self) -> str:
        return (self.text if self.message is None else self.message.content) or ""


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Reply(BaseModel):
    """What is read of a reply. What cannot be read is not shown by pydantic, as it may repeat a key."""

    model_config = ConfigDict(hide_input_in_errors=True)

    model: str | None = None
    choices: list[Choice] = Field(min_length=1)
    usage: _Usage | None = None


@dataclass(frozen=True)
class Answered:
    """A reply, and what it took."""

    choice: Choice
    prompt_tokens: int
    output_tokens: int
    retries: int
    seconds: float


class _Trouble(Exception):
    """A try that may go better next time; `wait_s` where the API said when."""

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s


class _Silence(_Trouble):
    """No answer in time."""


class Api:
    """The address while it is in use: `async with Api(address) as api`. Belongs to one event loop."""

    def __init__(self, address: Address) -> None:
        self._at, self._key = address, address.key()
        self._slots = asyncio.Semaphore(address.at_once)
        self._requests = Pace(address.requests_per_minute) if address.requests_per_minute else None
        self._tokens = Pace(address.tokens_per_minute) if address.tokens_per_minute else None
        self._lost_in_a_row = 0
        self._noted: set[str] = set()
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        self._client = AsyncOpenAI(
            base_url=address.base_url,
            api_key=self._key or "none",
            max_retries=0,
            timeout=httpx2.Timeout(None, connect=min(CONNECT_S, address.timeout_s)),
            http_client=DefaultAsyncHttpxClient(
                limits=httpx2.Limits(max_connections=address.at_once, max_keepalive_connections=address.at_once)
            ),
        )

    async def __aenter__(self) -> "Api":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def ask(self, path: str, body: Mapping[str, Any], most_tokens: int) -> Answered:
        """The first choice of the reply. `most_tokens` is what the request may use, which the pace counts on."""
        async with self._slots:
            began = time.monotonic()
            tries = 0
            while True:
                await self._take_turn(most_tokens)
                try:
                    reply = await self._once(path, body)
                except _Trouble as trouble:
                    wait_s = max(trouble.wait_s, _wait(tries))
                    if tries == self._at.retries or wait_s > PATIENCE_S:
                        raise self._lost(trouble, tries + 1) from trouble
                    tries += 1
                    await asyncio.sleep(wait_s)
                else:
                    self._lost_in_a_row = 0
                    return self._answered(reply, str(body["model"]), most_tokens, tries, time.monotonic() - began)

    async def _take_turn(self, most_tokens: int) -> None:
        waits = [self._requests.wait_for(1)] if self._requests else []
        waits += [self._tokens.wait_for(most_tokens)] if self._tokens else []
        await asyncio.sleep(max(waits, default=0))

    async def _once(self, path: str, body: Mapping[str, Any]) -> Reply:
        from openai import APIConnectionError, APIStatusError, Omit

        keyless: Any = {} if self._key else {"headers": {"Authorization": Omit()}}
        try:
            async with asyncio.timeout(self._at.timeout_s):
                response = await self._client.post(f"/{path}", cast_to=httpx2.Response, body=body, options=keyless)
        except TimeoutError as error:
            raise _Silence(f"no answer within {self._at.timeout_s:g} s") from error
        except APIStatusError as error:
            raise self._meaning(error.response) from error
        except APIConnectionError as error:
            raise _Trouble(
                self._clean(f"{type(error.__cause__ or error).__name__}: {error.__cause__ or error}")
            ) from error
        try:
            return Reply.model_validate_json(response.content)
        except ValidationError as error:
            raise _Trouble(f"a reply that cannot be read: {self._words(response)!r}") from error

    def _meaning(self, response: httpx2.Response) -> Exception:
        code, said = response.status_code, f"{response.status_code}: {self._words(response)}"
        if code in NO_KEY:
            key = f"the key in {self._at.key_from}" if self._at.key_from else "api_key_env, as no key was sent"
            return UserError(f"{self._at.named}: {self._at.base_url} lets nobody in ({said}); check {key}")
        if code in AGAIN or code >= 500:
            return _Trouble(said, _retry_after(response))
        return RequestFailed(said)

    def _lost(self, trouble: _Trouble, tries: int) -> Exception:
        self._lost_in_a_row += 1
        text = f"{trouble} (tried {tries} times)"
        if self._lost_in_a_row < LOST_IN_A_ROW:
            return TimedOut(text) if isinstance(trouble, _Silence) else RequestFailed(text)
        return Unreachable(
            f"{self._at.named}: {self._at.base_url} left {self._lost_in_a_row} requests in a row unanswered: {text}"
        )

    def _answered(self, reply: Reply, model: str, most_tokens: int, retries: int, seconds: float) -> Answered:
        if reply.model and reply.model != model:
            self._note(f"answers as {reply.model!r}; {model!r} was asked")
        usage = reply.usage or _Usage()
        prompt_tokens, output_tokens = usage.prompt_tokens or 0, usage.completion_tokens or 0
        if not prompt_tokens:
            self._note("tells no usage, so its tokens are counted as 0")
        elif self._tokens:
            self._tokens.give_back(most_tokens - prompt_tokens - output_tokens)
        return Answered(reply.choices[0], prompt_tokens, output_tokens, retries, seconds)

    def _note(self, text: str) -> None:
        """Once in the log."""
        if text not in self._noted:
            self._noted.add(text)
            log.warning("%s: %s %s", self._at.named, self._at.base_url, self._clean(text))

    def _words(self, response: httpx2.Response) -> str:
        """What an answer says, on one short line."""
        return self._clean(" ".join(response.text.split()))[:300]

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _wait(tries: int) -> float:
    """Twice as long after each try, and never the same for two requests."""
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**tries) * random.uniform(0.5, 1.0)


def _retry_after(response: httpx2.Response) -> float:
    """Seconds, from a number or a date; 0 where there is neither."""
    told = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", told):
        return float(told)
    said = response.headers.get("date", "")  # by the server's clock, which need not be this machine's
    try:
        now = parsedate_to_datetime(said) if said else datetime.now(UTC)
        return (parsedate_to_datetime(told) - now).total_seconds()
    except (TypeError, ValueError):
        return 0.0
