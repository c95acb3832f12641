"""A deterministic teacher with log-probabilities that needs no model: dry runs, tests, load tests.

Knows how to answer any prompt with plausible-looking words that depend on the request's id alone, in the format that
the end of the prompt asks for. Its text means nothing, and no figure made with it should be believed.
"""

import asyncio
import hashlib
import random
import re
from functools import cached_property

import numpy as np

from pipelines.core.chat import ChatTokenizer
from pipelines.core.records import Completion, SoftTargets
from pipelines.core.signals import pack
from pipelines.generate.teacher import Request, ScoreRequest

_VERBS = [
    "Describe",
    "Explain",
    "List",
    "Compare",
    "Write",
    "Name",
    "Rewrite",
    "Summarise",
    "Suggest",
    "Plan",
    "Invent",
    "Translate",
]
_NOUNS = [
    "river",
    "bread",
    "engine",
    "winter",
    "garden",
    "library",
    "violin",
    "market",
    "island",
    "bridge",
    "planet",
    "recipe",
    "letter",
    "clock",
]
_LINKS = ["about", "near", "without", "before", "under", "beside", "behind", "between", "within", "toward"]
_DOTTED = re.compile(r"^\s*(\d+)\.\s*\Z")
_TRIPLE = re.compile(r"^\s*(\d+)\. Instruction:\s*\Z")
_A_WORD = 8  # max_tokens up to which a yes or no is expected
TOP = 0.6  # probability of the token that is there; the rest falls geometrically


class FakeTeacher:
    """Answers are a function of the request's id; scores are a function of the tokens."""

    def __init__(self, model: str, tokenizer: ChatTokenizer, latency_s: float = 0.0) -> None:
        self._model, self._tokenizer, self._latency = model, tokenizer, latency_s

    async def write(self, request: Request) -> Completion:
        await asyncio.sleep(self._latency)
        chance = random.Random(request.id)
        text = _continue(chance, request)
        ids = self._tokenizer.encode(text)[: request.sampling.max_tokens]
        cut = len(ids) == request.sampling.max_tokens
        finish = "length" if cut else "stop"
        return Completion(
            request.id,
            self._model,
            request.prompt,
            self._tokenizer.decode(ids),
            tuple(ids),
            finish,
            prompt_tokens=len(request.prompt_ids(self._tokenizer)),
            output_tokens=len(ids),
            seconds=self._latency,
        )

    @cached_property
    def _tokens(self) -> int:
        return len(self._tokenizer.vocabulary())

    async def score(self, request: ScoreRequest) -> SoftTargets:
        await asyncio.sleep(self._latency)
        size, k = self._tokens, min(request.k, self._tokens)
        tail = (1 - TOP) * 0.5 ** np.arange(1, k)
        logprobs_k = np.log(np.concatenate([[TOP], tail]))
        ids_pk = np.stack([self._candidates(request.token_ids, p, k, size) for p in request.positions])
        return pack(
            request.id, request.example_id, request.positions, ids_pk, np.tile(logprobs_k, (len(request.positions), 1))
        )

    def _candidates(
        self, token_ids: tuple[int, ...], position: int, k: int, size: int
    ) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """k different tokens, the one that is there first."""
        actual = token_ids[position]
        text = f"{token_ids[position - 1]}:{position}".encode()
        start = int.from_bytes(hashlib.sha256(text).digest()[:4], "big")
        others = (start + np.arange(k, dtype=np.int64)) % size
        return np.concatenate([[actual], others[others != actual][: k - 1]])


def _continue(chance: random.Random, request: Request) -> str:
    """A reply in the format that the prompt's last line calls for."""
    last = request.prompt.rsplit("\n", 1)[-1]
    if numbered := _DOTTED.match(last):
        return _list_from(chance, int(numbered[1]))
    if triple := _TRIPLE.match(last):
        return _triples_from(chance, int(triple[1]))
    if not request.is_chat and request.sampling.max_tokens <= _A_WORD:
        return chance.choice((" Yes", " No"))
    if last.startswith("Task: "):
        return _labels(chance) if "\nLabel: " in request.prompt else _examples(chance)
    if last.endswith("</instruction>"):
        return f"It is useful. <instruction>{_sentence(chance, chance.randint(5, 12))}</instruction>"
    return _sentence(chance, chance.randint(8, 40))


def _sentence(chance: random.Random, words: int) -> str:
    body = " ".join(chance.choice(_NOUNS if n % 2 else _LINKS) for n in range(words - 1))
    return f"{chance.choice(_VERBS)} {body}."


def _list_from(chance: random.Random, first: int) -> str:
    """The continuation of a numbered list whose last number stands already."""
    items = [_sentence(chance, chance.randint(5, 12)) for _ in range(4)]
    return "\n".join(" " + item if n == 0 else f"{first + n}. {item}" for n, item in enumerate(items)) + "\n"


def _triples_from(chance: random.Random, first: int) -> str:
    """The continuation of triples whose last one is begun; every other one has an input."""
    tasks = [(_sentence(chance, chance.randint(5, 12)), _sentence(chance, 5), _sentence(chance, 8)) for _ in range(3)]
    return "\n###\n".join(
        (f"{n}. Instruction:" if n > first else "")
        + f" {task}\n{n}. Input:\n{input if n % 2 else '<none>'}\n{n}. Output:\n{output}"
        for n, (task, input, output) in enumerate(tasks, first)
    )


def _examples(chance: random.Random) -> str:
    """Two examples of input and output."""
    parts = (f"\nExample {n}\nInput: {_sentence(chance, 5)}\nOutput: {_sentence(chance, 8)}" for n in (1, 2))
    return "".join(parts)


def _labels(chance: random.Random) -> str:
    """Two labels, each with an input."""
    return "".join(f"\nLabel: {label}\nInput: {_sentence(chance, 5)}" for label in ("first", "second"))
