"""Who answers multiple-choice questions: writes to a question, and tells how likely each of its choices is.

Knows served models, by vLLM or as encoder-decoders. A choice is likely in the very tokens that training would have it
in, with the end after it. Does not know questions, answers or figures: all comes as texts.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Learn, Template
from pipelines.core.records import Completion, Conversation, Dropped, Message, TrainExample
from pipelines.generate.teacher import Request, RequestFailed
from pipelines.train.examples import of_conversation
from serving.api import Api
from serving.client import COMPLETIONS, ServedModel
from serving.examinees import Writer
from serving.served import Served

LIKELIHOODS = "likelihoods"


class Chooser(Writer, Protocol):
    """RequestFailed, from either, costs the question."""

    async def likelihoods(self, source: str, options: Sequence[str]) -> list[float]:
        """Log-probability, in nats, of each option and its end, once the source is read."""
        ...


def chooser(api: Api, model: Served, template: Template) -> Chooser:
    """A served model that learnt, or was to learn, by this template."""
    tokenizer, longest = ChatTokenizer(str(model.folder), template), model.engine.max_model_len
    if tokenizer.is_encoder_decoder:
        return EncoderDecoderChooser(api, model.name, tokenizer, longest)
    return CausalChooser(ServedModel(api, model.name, tokenizer), tokenizer, longest)


@dataclass(frozen=True)
class CausalChooser:
    """A model on a vLLM server whose engines choose (see `Served`)."""

    model: ServedModel
    tokenizer: ChatTokenizer
    longest: int

    async def write(self, request: Request) -> Completion:
        return await self.model.write(request)

    async def likelihoods(self, source: str, options: Sequence[str]) -> list[float]:
        return list(await asyncio.gather(*(self._likelihood(source, option) for option in options)))

    async def _likelihood(self, source: str, option: str) -> float:
        example = _example(source, option, self.tokenizer, self.longest)
        learnt = [n for n, weight in enumerate(example.weights) if weight > 0]
        start, stop = learnt[0], learnt[-1] + 1
        assert len(learnt) == stop - start, "an option and its end stand together"
        return sum(await self.model.continued(example.token_ids[:start], example.token_ids[start:stop]))


@dataclass(frozen=True)
class EncoderDecoderChooser:
    """A model of `encoder_decoder.py`, which reads a question once for all its options."""

    api: Api
    model: str
    tokenizer: ChatTokenizer
    longest: int

    async def write(self, request: Request) -> Completion:
        # What is read does not depend on what is written.
        turns: list[Message] = [{"role": "user", "content": request.prompt}, {"role": "assistant", "content": ""}]
        ids, sampling = self.tokenizer.tokens(turns).encoder_ids, request.sampling
        body = {
            "model": self.model,
            "prompt": list(ids),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
        }
        answered = await self.api.ask(COMPLETIONS, body, len(ids) + sampling.max_tokens)
        choice = answered.choice
        return Completion(
            request.id, "", request.prompt, choice.said, (), choice.finish_reason or "unknown",
            answered.prompt_tokens, answered.output_tokens, answered.retries, answered.seconds,
        )  # fmt: skip

    async def likelihoods(self, source: str, options: Sequence[str]) -> list[float]:
        examples = [_example(source, option, self.tokenizer, self.longest) for option in options]
        read = list(examples[0].encoder_ids)
        targets = [list(example.token_ids[1:]) for example in examples]  # without what the decoder starts with
        body = {"model": self.model, "prompt_ids": read, "targets": targets}
        answered = await self.api.ask(LIKELIHOODS, body, len(read) + sum(map(len, targets)))
        told = answered.choice.target_logprobs
        if told is None or len(told) != len(options):
            raise RequestFailed("the reply does not tell the likelihood of every option")
        return told


def _example(source: str, option: str, tokenizer: ChatTokenizer, longest: int) -> TrainExample:
    """The option as training would have it."""
    row = Conversation("", "", (source, option), "", "{}")
    example = of_conversation(row, tokenizer, Learn(), longest)
    if isinstance(example, Dropped):
        raise RequestFailed(f"{option!r} after its question: {example.detail}")
    return example
