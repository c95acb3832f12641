"""A vLLM server with a model of no weights, which answers as such a server does, and is wrong in one way on demand.

Knows a tokenizer, and texts that its model was "taught". A token's probability depends on all tokens before it, and on
nothing else: so it can be worked out beside the server.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from api_server import Asked, Wire

from pipelines.core.chat import ChatTokenizer
from pipelines.core.hashing import seed_of

Fault = Literal[
    "none", "adds a bos", "other ids", "shifted", "positive", "always greedy", "never greedy", "no stop", "no end",
    "other template", "marks", "untaught", "no logprobs",
]  # fmt: skip
KNOWN = 12.0  # how much likelier what was taught is


@dataclass
class FakeVLLM:
    """`ApiServer.behave` is this one's `behave`. `taught` is text by what stands before it."""

    tokenizer: ChatTokenizer
    taught: Mapping[str, str] = field(default_factory=dict)
    fault: Fault = "none"

    def __post_init__(self) -> None:
        self._size = max(self.tokenizer.vocabulary().values()) + 1
        self._next: dict[tuple[int, ...], int] = {}
        for context, rest in self.taught.items():
            ids, before = self.tokenizer.encode(context + rest), len(self.tokenizer.encode(context))
            self._next |= {tuple(ids[:n]): ids[n] for n in range(before, len(ids))}

    def logprobs(self, before: Sequence[int]) -> np.ndarray:
        """Of every token after these."""
        logits = np.random.default_rng(seed_of(repr(list(before)))).normal(0, 1.5, self._size)
        if self.fault != "untaught" and (known := self._next.get(tuple(before))) is not None:
            logits[known] += KNOWN
        return np.asarray(logits - np.log(np.exp(logits).sum()))

    def behave(self, asked: Asked) -> Wire:
        body = asked.body
        if asked.path.endswith("chat/completions"):
            return self._answer(self._rendered(body["messages"]), body, said="ok")
        prompt = body["prompt"]
        ids = self.tokenizer.encode_raw(prompt) if isinstance(prompt, str) else prompt
        if self.fault == "adds a bos":
            ids = [self.tokenizer.eos_id, *ids]
        if self.fault == "other ids" and isinstance(prompt, str):
            ids = [(n + 7) % self._size for n in ids]
        return self._answer(ids, body)

    def _rendered(self, messages: list[Any]) -> list[int]:
        text = self.tokenizer.render(messages, for_answer=True)
        return self.tokenizer.encode(f"{text}Yes: " if self.fault == "other template" else text)

    def _answer(self, ids: Sequence[int], body: Mapping[str, Any], said: str | None = None) -> Wire:
        written, text, reason = self._write(ids, body)
        choice: dict[str, Any] = {"index": 0, "text": text if said is None else said, "finish_reason": reason}
        if body.get("prompt_logprobs") is not None and self.fault != "no logprobs":
            choice["prompt_logprobs"] = [
                None,
                *(self._told(ids, n, body["prompt_logprobs"]) for n in range(1, len(ids))),
            ]
        if body.get("return_token_ids"):
            choice |= {"token_ids": written, "prompt_token_ids": list(ids)}
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(written)}
        return Wire(body=json.dumps({"choices": [choice], "usage": usage}).encode())

    def _told(self, ids: Sequence[int], n: int, k: int) -> dict[str, Any]:
        """What is told at one place: the token itself and the `k` likeliest."""
        each = self.logprobs(ids[: n - 1] if self.fault == "shifted" else ids[:n])
        best = [int(t) for t in np.argsort(-each)[:k]]
        if self.fault == "always greedy":
            best = []
        if self.fault == "never greedy":
            best = [(ids[n] + 1) % self._size]
            each[best] = 0.0
        up = 30.0 if self.fault == "positive" else 0.0
        return {str(t): {"logprob": float(each[t]) + up} for t in {ids[n], *best}}

    def _write(self, ids: Sequence[int], body: Mapping[str, Any]) -> tuple[list[int], str, str]:
        """Greedily, until a stop string, the end token, or as many tokens as were asked for."""
        most, stops = body["max_tokens"], body.get("stop") or []
        before, written = list(ids), list[int]()
        while len(written) < (most + 3 if self.fault == "no end" else most):
            written.append(int(np.argmax(self.logprobs(before))))
            before.append(written[-1])
            text = self.tokenizer.decode(written)
            found = [text.index(stop) for stop in stops if stop in text]
            if found and self.fault != "no stop":
                return written, text[: min(found)], "stop"
            if written[-1] == self.tokenizer.eos_id:
                return written, text, "stop"
        text = self.tokenizer.decode(written)
        return written, f"<|im_start|>{text}" if self.fault == "marks" else text, "length"
