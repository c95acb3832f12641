"""Asks an endpoint what is known beforehand. Knows which requests each check needs; what a reply must be is in
`known_answers.py`. Nothing of it goes through the ledger: it is the endpoint that is looked at, and not the model.
"""

import asyncio
from collections.abc import Sequence

from pipelines.benchmark import known_answers
from pipelines.benchmark.known_answers import TEXTS, Finding
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Sampling
from pipelines.core.hashing import key_of
from pipelines.core.records import Completion, Likelihood
from pipelines.generate.likelihood import likelihood_request
from pipelines.generate.teacher import Request, TeacherId
from serving.client import ServedModel

STORY = "The old bridge stood between the village and the mill. Every morning the miller crossed it with his cart."
HELLO = "Name a colour."
MOST_TOKENS = 24
_HALF = "\ufffd"  # half a character, which small models write, is no text that could be looked for
_NOBODY = TeacherId("check", "")


async def findings(model: ServedModel, tokenizer: ChatTokenizer, is_chat: bool, least: float) -> list[Finding]:
    """All checks, in the order in which they are worth reading. RequestFailed where the endpoint refuses one."""
    asked = _Asked(model, tokenizer)
    found = [
        await asked.tokens(),
        *await asked.likelihoods(least),
        *await asked.writing(),
    ]
    return [*found, *await asked.chat()] if is_chat else found


class _Asked:
    """One endpoint."""

    def __init__(self, model: ServedModel, tokenizer: ChatTokenizer) -> None:
        self._model, self._tokenizer = model, tokenizer

    async def tokens(self) -> Finding:
        texts = (*TEXTS, f"special tokens as text: {self._tokenizer.eos} and on")
        theirs = await asyncio.gather(*map(self._model.read, texts))
        return known_answers.tokens(texts, [self._tokenizer.encode_raw(text) for text in texts], theirs)

    async def likelihoods(self, least: float) -> list[Finding]:
        texts = known_answers.plain()
        contexts = [self._ids(text.context) for text in texts]
        right = await self._all(contexts, [self._rest(text.context, text.right) for text in texts])
        wrong = await self._all(contexts, [self._rest(text.context, text.wrong) for text in texts])
        story = self._ids(STORY)
        half = len(story) // 2
        begun, rest, whole = await self._all(
            [story[:1], story[:half], story[:1]], [story[1:half], story[half:], story[1:]]
        )
        said = await asyncio.gather(*(self._write(text.context, max_tokens=1) for text in texts))
        written = [list(each.token_ids[:1]) for each in said]
        others = [[0 if ids != [0] else 1] for ids in written]
        return [
            known_answers.probabilities([*right, *wrong, whole]),
            known_answers.additive(begun, rest, whole),
            known_answers.preferred(right, wrong, least),
            known_answers.greedy(await self._all(contexts, written), await self._all(contexts, others)),
        ]

    async def writing(self) -> list[Finding]:
        texts = [text.context for text in known_answers.plain()]
        said = await asyncio.gather(*(self._write(text, MOST_TOKENS) for text in texts))
        found = [known_answers.bounded([each.output_tokens for each in said], MOST_TOKENS)]
        clean = {each.prompt: max(each.text.split(_HALF), key=len) for each in said}
        longest = max(said, key=lambda each: len(clean[each.prompt]))
        piece = clean[longest.prompt]
        if len(piece) < 2:
            return [*found, Finding("stop", "nothing was said that could be stopped")]
        stop = piece[(len(piece) - 1) // 2 :][:2]
        again = await self._write(longest.prompt, MOST_TOKENS, stop)
        return [*found, known_answers.stopped(longest.text, stop, again.text)]

    async def chat(self) -> list[Finding]:
        text = self._tokenizer.render([{"role": "user", "content": HELLO}], for_answer=True)
        ids = self._ids(text)
        said = await self._write(text, MOST_TOKENS)
        bos = self._tokenizer.bos_id
        return [
            known_answers.rendered(ids, bos, await self._model.rendered(HELLO)),
            known_answers.clean(said.text, self._tokenizer.special),
        ]

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.encode_raw(self._tokenizer.as_document(text))

    def _rest(self, context: str, rest: str) -> list[int]:
        """What the rest becomes behind its context, as the harness has it."""
        return self._ids(context + rest)[len(self._ids(context)) :]

    async def _all(self, contexts: Sequence[list[int]], rests: Sequence[list[int]]) -> list[Likelihood]:
        asked = [likelihood_request(_NOBODY, *pair) for pair in zip(contexts, rests, strict=True)]
        return list(await asyncio.gather(*map(self._model.likelihood, asked)))

    async def _write(self, text: str, max_tokens: int, *stop: str) -> Completion:
        sampling = Sampling(temperature=0, max_tokens=max_tokens, stop=stop)
        prompt = self._tokenizer.as_document(text)
        return await self._model.write(Request(key_of("check", prompt), prompt, False, sampling))
