"""What is written: tasks, what teachers said, answers, conversations; and rows that went no further."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from pipelines.core.hashing import key_of

Split = Literal["train", "held_out"]
TaskType = Literal["unknown", "generation", "classification"]  # classification: one label out of a few


class Message(TypedDict):
    """One turn, as chat templates take it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """A task for a model. Maker: `seeds`, `instructions`. Readers: `answers`, `evaluate`, `trace`."""

    id: str
    text: str
    input: str  # the inline text that the task works on, "" for none
    origin: Literal["seed", "bootstrap"]
    split: Split
    parents: tuple[str, ...]  # ids of the instructions the teacher was shown; () for a seed
    completion_id: str  # the completion it was parsed from; "" for a seed
    reference: str  # the answer that came with it: a seed's, or one written in one go with it; "" for none
    group: str = ""  # the prompt it was asked for with; samples of one prompt share it; "" for a seed
    task_type: TaskType = "unknown"

    @staticmethod
    def make_id(text: str, input: str) -> str:
        return key_of("instruction", text, input)

    def as_prompt(self) -> str:
        """The user's turn: the instruction, then its input."""
        return _with_input(self.text, self.input)


@dataclass(frozen=True, slots=True)
class Completion:
    """What a teacher said, raw. Maker: a teacher. Readers: `instructions`, `answers`, through the ledger."""

    id: str  # hashes (teacher digest, prompt, chat or document, sampling, ordinal)
    model: str  # the teacher's digest
    prompt: str
    text: str
    token_ids: tuple[int, ...]  # () where the teacher tells none
    finish_reason: str  # "stop", "length", or the teacher's own word: "content_filter"
    prompt_tokens: int
    output_tokens: int
    retries: int = 0  # tries before the one that was answered
    seconds: float = 0.0  # from the first try to the answer


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer to an instruction. Maker: `answers`. Readers: `examples`, `evaluate`, report."""

    id: str
    instruction_id: str
    completion_id: str
    prompt: str  # the user's turn
    text: str
    finish_reason: str
    sample: int = 0  # which of its instruction's answers
    reasoning: str = ""  # what the teacher thought before it answered, where the recipe keeps that


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a user and an assistant said, in any of the formats that people keep it in.

    Maker: `import`, and `export` of a run. Readers: `export`, `seeds`.
    """

    id: str  # hashes what a model would see, so a conversation has one id in every format
    system: str  # "" for none
    turns: tuple[str, ...]  # user, assistant, user, assistant, ...; never empty, the assistant's last
    input: str  # the part of the first turn that its file kept apart (Alpaca's `input`), "" for none
    extra: str  # the row's other columns as one canonical JSON object

    @staticmethod
    def make_id(system: str, turns: Sequence[str], input: str) -> str:
        return key_of("conversation", system, _with_input(turns[0], input), *turns[1:])

    def messages(self) -> list[Message]:
        """As chat templates take it, the input within the first user turn."""
        said = (_with_input(self.turns[0], self.input), *self.turns[1:])
        spoken: list[Message] = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]
        return [{"role": "system", "content": self.system}, *spoken] if self.system else spoken


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that went no further, kept with its reason. Maker: any stage. Readers: report, `trace`."""

    id: str
    stage: str
    reason: str  # one word or two, counted in the report
    text: str
    detail: str


def _with_input(text: str, input: str) -> str:
    return f"{text}\n\n{input}" if input else text
