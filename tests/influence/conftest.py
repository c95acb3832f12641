"""A student after a few plain AdamW steps, with what training leaves of it, and rows to ask about.

Knows how the state is made. Does not know what is asserted about it.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import LoRA, Train
from pipelines.core.records import Answer, TrainExample
from pipelines.influence.state import Warm
from pipelines.train import examples, lora
from pipelines.train.job import MODEL
from pipelines.train.keep import WARM, write_warm

STEPS = 4
_ASKED = (
    "Name a colour.", "Name a river.", "Say hello.", "Spell cat.", "What is two plus two?", "Why is the sky blue?",
)  # fmt: skip
_SAID = (
    "Red.", "The Nile.", "Hello! How are you today?", "c, a, t", "Four.", "Air scatters blue light more than red.",
)  # fmt: skip


@dataclass(frozen=True)
class Student:
    """A model in fp32 with its optimizer, as the steps left them, and the stage's folder."""

    model: Any
    optimizer: torch.optim.AdamW
    stage: Path

    def warm(self) -> Warm:
        return Warm.read(self.stage)


@pytest.fixture(scope="session")
def talk(tokenizer: ChatTokenizer) -> list[TrainExample]:
    """Every question with every answer, those that fit together first."""
    answers = [
        Answer(f"{asked} {said}", asked, "", asked, said, "stop")
        for shift in range(len(_SAID))
        for asked, said in zip(_ASKED, (*_SAID[shift:], *_SAID[:shift]), strict=True)
    ]
    made = list(examples.make(answers, partial(examples.encode, tokenizer=tokenizer), 256))
    kept = [row for row in made if isinstance(row, TrainExample)]
    assert kept == made
    return kept


@pytest.fixture(scope="session")
def wanted(talk: list[TrainExample]) -> list[TrainExample]:
    """What the student should be good at."""
    return talk[:6]


@pytest.fixture(scope="session")
def rows(talk: list[TrainExample]) -> list[TrainExample]:
    """What it is asked about; it learnt none of them."""
    return talk[18:]


@pytest.fixture
def trained(
    tiny_llama: Path, talk: list[TrainExample], nll_by_hand: Callable[[Any, TrainExample], Tensor], tmp_path: Path
) -> Callable[..., Student]:
    """Makes a student at this learning rate. Its folder holds the weights in bf16, as training leaves them."""
    from transformers import AutoModelForCausalLM

    def make(
        rate: float = 1e-4, decay: float = 0.0, frozen: Sequence[str] = (), adapters: LoRA | None = None
    ) -> Student:
        model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in frozen)
        if adapters:
            torch.manual_seed(1)
            lora.add(model, adapters)
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learning, rate, (0.9, 0.95), weight_decay=decay)
        for step in range(STEPS):
            optimizer.zero_grad()
            torch.stack([nll_by_hand(model, example) for example in talk[6 + step : 18 : STEPS]]).mean().backward()
            optimizer.step()
        optimizer.zero_grad()
        engine = SimpleNamespace(module=SimpleNamespace(student=model), optimizer=optimizer)
        write_warm(engine, Train(lora=adapters), tmp_path / WARM, STEPS, 0)
        left = deepcopy(model).to(torch.bfloat16)
        left.save_pretrained(tmp_path / MODEL, state_dict=lora.merged(left) if adapters else None)
        return Student(model, optimizer, tmp_path)

    return make


@pytest.fixture(scope="session")
def nll_by_hand() -> Callable[[Any, TrainExample], Tensor]:
    """An example's mean loss over its weighted tokens, by transformers' own forward, alone and unpacked."""

    def make(model: Any, example: TrainExample) -> Tensor:
        at = torch.tensor([t for t, weight in enumerate(example.weights) if weight > 0 and t > 0])
        ids_T = torch.tensor(example.token_ids)
        logprobs_TV = model(ids_T[None]).logits[0].float().log_softmax(-1)
        return -logprobs_TV[at - 1, ids_T[at]].mean()

    return make
