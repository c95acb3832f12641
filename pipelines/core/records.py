"""Every record that crosses a stage's boundary. Each names its maker and its readers.

Knows only plain values. How records become Arrow is in `tables.py`; how they are made is in the stages.
An `id` hashes the record's content (`hashing.key_of`), so the same content has the same id everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from pipelines.core.hashing import key_of

Split = Literal["train", "held_out"]


class Message(TypedDict):
    """One turn, as chat templates take it."""

    role: str
    content: str


TaskType = Literal["unknown", "generation", "classification"]  # classification: one label out of a few


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
class TrainExample:
    """Tokens with their loss weights. Maker: `examples`. Readers: `soft_targets`, `student`.

    `weights[t]` is the weight of predicting token t; nothing predicts the first, so weights[0] is 0. Of an
    encoder-decoder `token_ids` are the decoder's, from the token that it starts with.
    """

    id: str
    answer_id: str
    instruction_id: str
    component: str  # the loss component its cross-entropy counts for, e.g. "answer"
    token_ids: tuple[int, ...]
    weights: tuple[float, ...]
    lineage: str = ""  # what it descends from: a split keeps examples of one lineage together
    source: str = ""  # which of a recipe's sources of data it came from, where there are several
    cut: bool = False  # whether turns, or the end of the only answer, were left off to fit max_length
    encoder_ids: tuple[int, ...] = ()  # what an encoder reads, where the student has one
    group: str = ""  # what is learnt in one step with it: the tasks of a question, the two answers of a preference

    @property
    def size(self) -> int:
        """How many tokens a model goes through."""
        return len(self.encoder_ids) + len(self.token_ids)


@dataclass(frozen=True, slots=True)
class SoftTargets:
    """A teacher's top-k next-token distribution at an example's weighted tokens.

    Maker: `soft_targets`. Reader: `student`. For P positions and k candidates: `positions` are indices into
    the example's tokens (the distribution predicts that token), `token_ids` is [P, k] little-endian in 2 or 3 bytes
    each, `logprobs` float16 [P, k]; the tail's mass is 1 - sum(exp(logprobs)).
    """

    id: str  # hashes (teacher digest, example id, token ids, k)
    example_id: str
    k: int
    positions: tuple[int, ...]
    token_ids: bytes
    logprobs: bytes


@dataclass(frozen=True, slots=True)
class EvalAnswer:
    """One model's result on one held-out prompt, through its endpoint. Maker: `evaluate`. Reader: report.

    `text` is the first of its answers; `rouge_l` and `repeated_3grams` are means over all of them.
    """

    id: str
    instruction_id: str
    model: str  # "teacher", "student", "student before"
    text: str
    finish_reason: str  # "": no answer was asked for, and text and the figures of answers say nothing
    reference: str
    nll: float  # summed negative log-likelihood of the reference's tokens, in nats
    reference_tokens: int  # 0, with an `nll` of 0: the model tells no likelihood
    rouge_l: float  # F1 of an answer against the reference
    repeated_3grams: float  # share of an answer's 3-grams that stood earlier in it


@dataclass(frozen=True, slots=True)
class HeldOutLoss:
    """One model's loss on one held-out example. Maker: `held_out_loss`. Reader: report."""

    id: str
    example_id: str
    source: str
    model: str  # "student-before", "student", or a teacher's name
    nll: float  # summed negative log-likelihood of the weighted tokens, in nats
    tokens: int  # how many those are


InfluenceMethod = Literal["exact", "first_order"]


@dataclass(frozen=True, slots=True)
class Influence:
    """How much a step on one row alone helped one student. Maker: a probe. Readers: who chooses rows, report.

    Losses are those of a reference set, in nats. Of `first_order` the loss after the step is what the estimate says.
    """

    id: str
    row_id: str
    method: InfluenceMethod
    influence: float  # null_step - after: above 0 the row lowered the loss
    before: float
    after: float  # a step on this row
    null_step: float  # after a step without news, which the optimizer's moments alone make: the baseline
    noise: float  # how far from 0 rounding alone may bring an influence; 0 where no loss is measured for each row


Part = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class Question:
    """A multiple-choice question. Maker: `questions`. Readers: `rationale_tasks`, `examples`, `accuracy`."""

    id: str
    key: str  # what its dataset calls it
    stem: str
    context: str  # what is read before it, "" for nothing
    choices: tuple[str, ...]
    answer: int  # which of the choices is right
    part: Part

    @staticmethod
    def make_id(context: str, stem: str, choices: Sequence[str]) -> str:
        return key_of("question", context, stem, list(choices))


@dataclass(frozen=True, slots=True)
class RationaleTask:
    """A question with its answer, as all teachers see it. Maker: `rationale_tasks`. Readers: `rationales_NAME`."""

    id: str  # the question's
    shown: tuple[str, ...]  # ids of the questions that stand before it
    text: str  # those, and the question with its answer, up to where the rationale begins


@dataclass(frozen=True, slots=True)
class Rationale:
    """Why an answer is right, as one source has it. Makers: `rationales_NAME`, `rationales`. Reader: `examples`."""

    id: str
    question_id: str
    source: str  # the recipe's name for who wrote it
    text: str
    completion_id: str  # what it was parsed from; "" where nobody was asked
    finish_reason: str  # as in Completion; "stop" where it is not known
    score: float = 0.0  # by which it was chosen among its question's, where one is

    @staticmethod
    def make_id(question_id: str, source: str, text: str) -> str:
        return key_of("rationale", question_id, source, text)


@dataclass(frozen=True, slots=True)
class Preference:
    """Two completions of one prompt, of which a teacher is to like the first better. Maker: `preferences`."""

    id: str
    prompt: str
    chosen: str
    rejected: str
    chosen_id: str  # the completions' ids
    rejected_id: str
    margin: float  # by how much more the chosen one helped the student, in nats


@dataclass(frozen=True, slots=True)
class ChoiceAnswer:
    """One model's answer to one multiple-choice question. Maker: `accuracy`. Reader: report."""

    id: str
    question_id: str
    model: str  # "student-before", "student"
    text: str  # what it wrote
    finish_reason: str
    written: int  # which of the choices that is, word for word; -1 for none
    likeliest: int  # which of the choices is likeliest
    answer: int  # which of them is right


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


Record = (
    Instruction
    | Completion
    | Answer
    | TrainExample
    | SoftTargets
    | EvalAnswer
    | HeldOutLoss
    | Influence
    | Question
    | RationaleTask
    | Rationale
    | ChoiceAnswer
    | Preference
    | Conversation
    | Dropped
)


def _with_input(text: str, input: str) -> str:
    return f"{text}\n\n{input}" if input else text
