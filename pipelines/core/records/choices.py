"""Multiple-choice questions, what explains their answers, and how models answered them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.core.hashing import key_of

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
