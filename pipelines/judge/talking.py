"""Models' answers to open questions: the first turn, then the second in the conversation that the first has begun.

Knows how a question becomes requests and completions a Talk. An answer without a word is an answer, which a judge may
find worse: were it dropped, whoever falls silent would gain by it. Does not judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.core.config import Sampling
from pipelines.core.hashing import key_of
from pipelines.core.records import Completion, OpenQuestion, Talk
from pipelines.generate.teacher import Request, TeacherId, write_request


@dataclass(frozen=True)
class FirstWork:
    """The row-wise work of `answers_MODEL` (see work.Work)."""

    stage: str
    sampling: Sampling
    teacher: TeacherId
    reads = OpenQuestion
    writes = Talk
    bought = Completion

    def requests(self, row: OpenQuestion) -> list[Request]:
        return [write_request(self.teacher, row.turns[0], self.sampling)]

    def settle(self, row: OpenQuestion, said: Sequence[Completion | None]) -> list[Talk]:
        return [
            _with(Talk("", row.id, row.category, self.teacher.name, row.turns, row.references, (), (), ()), completion)
            for completion in said
            if completion is not None
        ]


@dataclass(frozen=True)
class SecondWork:
    """The row-wise work of `second_answers_MODEL`: talks with one turn go on as they are."""

    stage: str
    sampling: Sampling
    teacher: TeacherId
    reads = Talk
    writes = Talk
    bought = Completion

    def requests(self, row: Talk) -> list[Request]:
        at = len(row.said)
        if at == len(row.turns):
            return []
        earlier = [text for pair in zip(row.turns, row.said, strict=False) for text in pair]
        return [write_request(self.teacher, row.turns[at], self.sampling, earlier=earlier)]

    def settle(self, row: Talk, said: Sequence[Completion | None]) -> list[Talk]:
        if not said:
            return [row]
        return [_with(row, completion) for completion in said if completion is not None]


def _with(talk: Talk, answer: Completion) -> Talk:
    """The talk with one answer more."""
    completions = (*talk.completion_ids, answer.id)
    return Talk(
        key_of("talk", talk.model, talk.question_id, list(completions)), talk.question_id, talk.category, talk.model,
        talk.turns, talk.references, (*talk.said, answer.text.strip()), completions,
        (*talk.finish_reasons, answer.finish_reason),
    )  # fmt: skip
