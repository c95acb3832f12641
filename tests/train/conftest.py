"""A tiny model in fp32, a few short conversations as training examples, and made-up teachers' signals for them.

Knows nothing of what is asserted about them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cluster.session import Session, session
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Train
from pipelines.core.records import Answer, SoftTargets, TrainExample
from pipelines.core.signals import pack
from pipelines.train import examples
from pipelines.train.batches import collate
from pipelines.train.references import Companions
from pipelines.train.step import terms, weighed

_TALK = (  # (what the user says, what the model answers): lengths differ on purpose
    ("Name a colour.", "Red."),
    ("Name three animals that can fly.", "A bat, an owl and a bee."),
    ("Say hello.", "Hello! How are you today?"),
    ("What is two plus two?", "Four."),
    ("Why is the sky blue?", "Air scatters blue light more than red light."),
    ("Spell cat.", "c, a, t"),
    ("Name a river.", "The Nile."),
)


@pytest.fixture(scope="module")
def ray_session() -> Iterator[Session]:
    with session() as live:
        yield replace(live, threads=1)  # a second thread costs more than it brings on so small a model


@pytest.fixture
def model(tiny_llama: Path) -> Any:
    """The tiny model in fp32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def answer() -> Callable[..., Answer]:
    """Makes an answer out of a prompt and a text."""

    def make(prompt: str, text: str, finish_reason: str = "stop") -> Answer:
        return Answer(f"answer to {prompt}", f"task {prompt}", f"said {prompt}", prompt, text, finish_reason)

    return make


@pytest.fixture(scope="session")
def talk(tokenizer: ChatTokenizer, answer: Callable[..., Answer]) -> list[TrainExample]:
    """Seven short conversations as examples."""
    answers = [answer(*turn) for turn in _TALK]
    made = list(examples.make(answers, partial(examples.encode, tokenizer=tokenizer), 256))
    kept = [row for row in made if isinstance(row, TrainExample)]
    assert kept == made
    return kept


@pytest.fixture(scope="session")
def teach() -> Callable[[TrainExample, Tensor, int], SoftTargets]:
    """Makes an example's soft targets: the top k of log-probabilities [weighted tokens, vocabulary]."""

    def make(example: TrainExample, logprobs_PV: Tensor, k: int) -> SoftTargets:
        positions = tuple(t for t, weight in enumerate(example.weights) if weight > 0 and t > 0)
        top = logprobs_PV.topk(k, dim=1)
        return pack(f"signal of {example.id}", example.id, positions, top.indices.numpy(), top.values.numpy())

    return make


@pytest.fixture(scope="session")
def guesses() -> Callable[[int, int, int], Tensor]:
    """Makes random log-probabilities [rows, vocabulary] from a seed."""

    def make(rows: int, vocabulary: int, seed: int) -> Tensor:
        values = np.random.default_rng(seed).normal(scale=2.0, size=(rows, vocabulary))
        return torch.log_softmax(torch.tensor(values, dtype=torch.float32), dim=-1)

    return make


@pytest.fixture(scope="session")
def sums_of() -> Callable[..., dict[str, Tensor]]:
    """Each component's sum, of log-probabilities [N, vocabulary] that no model made."""

    def make(
        logprobs_NV: Tensor, shown: Sequence[TrainExample], signals: Mapping[str, SoftTargets], config: Train
    ) -> dict[str, Tensor]:
        batch = collate(shown, signals)
        found = terms(batch, Companions(config, None, None, None).read(batch), config)
        names = [name for term in found for name in term.components]
        return dict(zip(names, weighed(found, logprobs_NV, slice(0, len(logprobs_NV))), strict=True))

    return make
