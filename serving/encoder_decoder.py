"""An encoder-decoder as a Serve application over transformers, as vLLM knows no such models.

Knows what is asked over HTTP: greedy texts in OpenAI's completions shape, and the log-probabilities of given texts.
Does not know chat templates: what is read comes as token ids, or as a plain document. What is under way is answered in
batches, one forward at a time. Beams and penalties in the model's folder are left alone, as our engines do with vLLM.
Shape letters: B requests, R tokens of the longest prompt, O targets, W tokens of the longest one written, D width,
V vocabulary.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, TypeVar

import torch
from fastapi import HTTPException
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cluster.placement import alone
from cluster.session import Session
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Engine
from pipelines.train.head import chunks_for
from serving.asked import COMPLETIONS
from serving.door import Door
from serving.front import behind_gate

TOKENS_AT_ONCE = 4096  # that are read, with padding: attention's scores grow with the square of a row
MOST_TARGETS = 64  # of one request: what was read of its prompt is there once for each
POSTS = {COMPLETIONS: "completions", "/v1/likelihoods": "likelihoods"}

Ids = Sequence[int]
T = TypeVar("T")


class CompletionRequest(BaseModel):
    """OpenAI's, with its defaults, as far as it can be met. A field that is not here would change the answer."""

    model_config = ConfigDict(extra="forbid")

    model: str
    prompt: str | list[int]
    max_tokens: int = Field(16, ge=1)
    temperature: float = 1.0


class LikelihoodsRequest(BaseModel):
    """Texts that could be written once the prompt is read, each with its end token where that is to count."""

    model_config = ConfigDict(extra="forbid")

    model: str
    prompt_ids: list[int]
    targets: list[list[int]] = Field(min_length=1, max_length=MOST_TARGETS)


@dataclass(frozen=True)
class Written:
    """Token ids without the one that ends a text, and whether that one came."""

    ids: tuple[int, ...]
    ended: bool


class Model:
    """The weights, and what is done with them; token ids in and out."""

    def __init__(self, folder: str, dtype: str) -> None:
        from transformers import AutoModelForSeq2SeqLM, GenerationConfig

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=getattr(torch, dtype)).to(self._device)
        told = self._model.generation_config
        self._start, ends = told.decoder_start_token_id, told.eos_token_id
        self._ends = {ends} if isinstance(ends, int) else set(ends)
        self._model.generation_config = GenerationConfig(
            decoder_start_token_id=self._start, eos_token_id=ends, pad_token_id=told.pad_token_id
        )

    @property
    def vocabulary(self) -> int:
        return int(self._model.config.vocab_size)

    @property
    def positions(self) -> int | None:
        """How many tokens the model has places for; None where it counts distances."""
        return getattr(self._model.config, "max_position_embeddings", None)

    @torch.inference_mode()
    def write(self, asked: Sequence[tuple[Ids, int]]) -> list[Written]:
        """The likeliest next token again and again, for each (prompt, most tokens)."""
        read_BR, is_read_BR = self._rows([prompt for prompt, _ in asked])
        most = max(tokens for _, tokens in asked)
        written_BW = self._model.generate(
            input_ids=read_BR, attention_mask=is_read_BR, max_new_tokens=most, do_sample=False
        )
        rows = written_BW[:, 1:].tolist()  # the first is the decoder's start
        return [self._until_end(row[:tokens]) for row, (_, tokens) in zip(rows, asked, strict=True)]

    @torch.inference_mode()
    def likelihoods(self, asked: Sequence[tuple[Ids, Sequence[Ids]]]) -> list[list[float]]:
        """Log-probability, in nats, of each target of each (prompt, targets). A prompt is read once."""
        read_BR, is_read_BR = self._rows([prompt for prompt, _ in asked])
        hidden_BRD = self._model.get_encoder()(input_ids=read_BR, attention_mask=is_read_BR).last_hidden_state
        owners = torch.tensor([b for b, (_, targets) in enumerate(asked) for _ in targets], device=self._device)
        flat = [target for _, targets in asked for target in targets]
        sums: list[float] = []
        for rows in owners.new_tensor(range(len(flat))).chunk(chunks_for(_padded(flat), self.vocabulary)):
            of_O = owners[rows]
            sums += self._summed(hidden_BRD[of_O], is_read_BR[of_O], [flat[row] for row in rows.tolist()])
        left = iter(sums)
        return [list(islice(left, len(targets))) for _, targets in asked]

    def _summed(self, hidden_ORD: Tensor, is_read_OR: Tensor, targets: Sequence[Ids]) -> list[float]:
        from transformers.modeling_outputs import BaseModelOutput

        target_OW, is_target_OW = self._rows(targets)
        start_O1 = torch.full_like(target_OW[:, :1], self._start)
        # No mask of the decoder's own: padding comes last, where nothing that counts sees it.
        logits_OWV = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden_ORD), attention_mask=is_read_OR,
            decoder_input_ids=torch.cat([start_O1, target_OW[:, :-1]], dim=1), use_cache=False,
        ).logits  # fmt: skip
        logprobs_OW = logits_OWV.float().log_softmax(2).gather(2, target_OW[:, :, None]).squeeze(2)
        sums: list[float] = logprobs_OW.where(is_target_OW, 0.0).sum(1).tolist()
        return sums

    def _rows(self, texts: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        """(ids in a row for each text, whether each is a token)."""
        ids_BR = pad_sequence([torch.tensor(text) for text in texts], batch_first=True).to(self._device)
        sizes_B = torch.tensor([len(text) for text in texts], device=self._device)
        return ids_BR, torch.arange(ids_BR.shape[1], device=self._device) < sizes_B[:, None]

    def _until_end(self, ids: Ids) -> Written:
        said = tuple(takewhile(lambda token: token not in self._ends, ids))
        return Written(said, ended=len(said) < len(ids))


def _padded(texts: Sequence[Ids]) -> int:
    return len(texts) * max(len(text) for text in texts)


def _room(asked: Sequence[tuple[Ids, Any]]) -> int:
    """What a batch counts for; a request alone always fits."""
    return _padded([prompt for prompt, _ in asked]) if len(asked) > 1 else 1


class EncoderDecoder:
    """One replica. A request that cannot be met is refused in words before it comes near the model."""

    def __init__(self, name: str, folder: str, dtype: str, longest: int) -> None:
        self._name, self._tokenizer, self._model = name, ChatTokenizer(folder), Model(folder, dtype)
        self._longest = min(longest, self._model.positions or longest)
        self._thread = ThreadPoolExecutor(max_workers=1)  # two forwards at once would only share the cores

    async def completions(self, asked: CompletionRequest) -> dict[str, Any]:
        _check(asked.temperature == 0, "temperature: texts are not drawn here; ask with temperature 0")
        _check(asked.max_tokens <= self._longest, f"max_tokens: {asked.max_tokens}; at most {self._longest}")
        ids = self._encoded(asked.prompt) if isinstance(asked.prompt, str) else asked.prompt
        self._check_ids("prompt", ids)
        written: Written = await self._write((ids, asked.max_tokens))
        choice = {
            "text": self._tokenizer.decode(written.ids),
            "finish_reason": "stop" if written.ended else "length",
            "logprobs": None,
        }
        return self._reply(choice, len(ids), len(written.ids) + written.ended)

    async def likelihoods(self, asked: LikelihoodsRequest) -> dict[str, Any]:
        """A completion that writes nothing, with the summed log-probability of each target."""
        self._check_ids("prompt_ids", asked.prompt_ids)
        for n, target in enumerate(asked.targets):
            self._check_ids(f"targets[{n}]", target)
        told: list[float] = await self._likelihoods((asked.prompt_ids, asked.targets))
        choice = {"text": "", "finish_reason": "stop", "target_logprobs": told}
        return self._reply(choice, len(asked.prompt_ids) + sum(map(len, asked.targets)), 0)

    @serve.batch(max_batch_size=TOKENS_AT_ONCE, batch_size_fn=_room)
    async def _write(self, asked: list[tuple[Ids, int]]) -> list[Written]:
        return await self._in_turn(self._model.write, asked)

    @serve.batch(max_batch_size=TOKENS_AT_ONCE, batch_size_fn=_room)
    async def _likelihoods(self, asked: list[tuple[Ids, Sequence[Ids]]]) -> list[list[float]]:
        return await self._in_turn(self._model.likelihoods, asked)

    async def _in_turn(self, compute: Callable[[Any], T], asked: Any) -> T:
        """Beside the event loop, which goes on taking requests."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, compute, asked)

    def _encoded(self, text: str) -> list[int]:
        try:
            return self._tokenizer.encode_raw(text)
        except TypeError as error:  # JSON can hold half a surrogate pair
            raise HTTPException(400, "prompt: not a text in Unicode") from error

    def _check_ids(self, field: str, ids: Ids) -> None:
        _check(0 < len(ids) <= self._longest, f"{field}: {len(ids)} tokens; from 1 to {self._longest} can be taken")
        known = range(self._model.vocabulary)
        _check(all(token in known for token in ids), f"{field}: a token id is not from 0 to {known[-1]}")

    def _reply(self, choice: dict[str, Any], prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }
        return {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": self._name,
            "choices": [{"index": 0, **choice}],
            "usage": usage,
        }


def _check(holds: bool, words: str) -> None:
    if not holds:
        raise HTTPException(400, words)


def application(name: str, folder: Path, engine: Engine, session: Session, door: Door) -> Any:
    """The model in this folder, to be run by Serve; `name` is what its clients call it."""
    env = {"OMP_NUM_THREADS": str(session.threads), "TOKENIZERS_PARALLELISM": "false"}
    actor = {**alone(session.bundle), "runtime_env": {"env_vars": env}}
    # More wait in the replica than a batch holds, or it would have nothing to choose from.
    replica = behind_gate(EncoderDecoder, POSTS, door, [name]).options(
        ray_actor_options=actor, max_ongoing_requests=4 * engine.max_num_seqs
    )
    return replica.bind(name, str(folder), engine.dtype, engine.max_model_len)
