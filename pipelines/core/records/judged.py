"""Open questions, how models answered them, and what a judge says of the answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.core.hashing import key_of

Side = Literal["model", "baseline"]
Said = Literal["A", "B", "tie", "unscored"]  # unscored: the judge's reply holds no verdict in the form asked for


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """What models are asked to be compared. Maker: `questions`. Readers: `answers_MODEL`, report."""

    id: str
    key: str  # what its file calls it
    category: str
    turns: tuple[str, ...]  # the user's, one or two
    references: tuple[str, ...]  # a right answer to each turn, "" where there is none; () for none at all

    @property
    def text(self) -> str:
        """All turns, one after the other."""
        return "\n\n".join(self.turns)

    @staticmethod
    def make_id(turns: Sequence[str], references: Sequence[str]) -> str:
        return key_of("open question", list(turns), list(references))


@dataclass(frozen=True, slots=True)
class Talk:
    """One model's answers to one question, as far as it has come.

    Makers: `answers_MODEL`, `second_answers_MODEL`. Readers: `verdicts_*_MODEL`, report, `export`.
    """

    id: str
    question_id: str
    category: str
    model: str  # the recipe's name for it
    turns: tuple[str, ...]  # all of the question's
    references: tuple[str, ...]  # as in OpenQuestion
    said: tuple[str, ...]  # the answers so far
    completion_ids: tuple[str, ...]  # what they were; () where nobody was asked
    finish_reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        """All answers, one after the other."""
        return "\n\n".join(self.said)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models' answers to one question, to be judged. Maker and reader: `verdicts_pairwise_MODEL`, `judge_check`."""

    id: str
    question_id: str
    category: str
    model: str
    baseline: str
    turns: tuple[str, ...]
    references: tuple[str, ...]
    model_said: tuple[str, ...]
    baseline_said: tuple[str, ...]
    talk_ids: tuple[str, ...]

    @property
    def text(self) -> str:
        """The question, by which a dropped row is known."""
        return "\n\n".join(self.turns)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one pair in one order. Makers: `verdicts_pairwise_MODEL`, `judge_check`. Reader: report."""

    id: str
    question_id: str
    category: str
    model: str
    baseline: str
    first: Side  # whose answer stood first, and was called A
    says: Said
    repeat: int  # which time this was asked, from 0
    text: str  # the judge's reply
    completion_id: str  # "" where a likelihood judged
    talk_ids: tuple[str, ...]  # the answers that were judged


@dataclass(frozen=True, slots=True)
class Score:
    """What a judge gives one answer by itself. Maker: `verdicts_single_MODEL`, `judge_check_single`. Reader: report."""

    id: str
    question_id: str
    category: str
    model: str
    turn: int  # which of the question's, from 1
    value: float  # 1 to 10; 0: unscored, as the judge's reply holds no number in the form asked for
    text: str  # the judge's reply
    completion_id: str
    talk_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnswerLikelihood:
    """How likely a judge finds a model's answers once it has read their questions.

    Maker: `likelihoods_MODEL`. Reader: `verdicts_pairwise_MODEL`.
    """

    id: str
    talk_id: str
    nll: float  # summed over the answers' tokens, in nats
    tokens: int  # 0: the conversation does not fit the judge's window
