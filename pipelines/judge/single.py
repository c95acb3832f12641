"""One answer by itself, put to a judge that gives it a number from 1 to 10.

Knows how a Talk becomes a request for each of its turns, and replies Scores (MT-Bench, arXiv 2306.05685; with the
right answer where the question has one).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.core.config import Sampling
from pipelines.core.hashing import key_of
from pipelines.core.records import Completion, Score, Talk
from pipelines.generate.prompts import Prompt
from pipelines.generate.teacher import Request, TeacherId, write_request
from pipelines.judge import fence
from pipelines.judge.verdicts import rating

PROMPT = "judge-single"


@dataclass(frozen=True)
class SingleWork:
    """The row-wise work of `verdicts_single_MODEL` and `judge_check_single` (see work.Work)."""

    stage: str
    sampling: Sampling
    judge: TeacherId
    prompt: Prompt
    reads = Talk
    writes = Score
    bought = Completion

    def requests(self, row: Talk) -> list[Request]:
        turns = range(1, len(row.said) + 1)
        return [write_request(self.judge, shown(self.prompt, row, turn), self.sampling) for turn in turns]

    def settle(self, row: Talk, said: Sequence[Completion | None]) -> list[Score]:
        return [self._score(row, turn, reply) for turn, reply in enumerate(said, 1) if reply is not None]

    def _score(self, row: Talk, turn: int, reply: Completion) -> Score:
        value = rating(reply.text, reply.finish_reason)
        id = key_of("score", row.id, turn, reply.id)
        return Score(id, row.question_id, row.category, row.model, turn, value, reply.text, reply.id, (row.id,))


def shown(prompt: Prompt, talk: Talk, turn: int) -> str:
    """What the judge reads: the talk up to this turn, whose answer is the one to be judged."""
    references = talk.references or ("",) * len(talk.turns)
    turns = [
        {"question": question, "answer": answer, "reference": reference}
        for question, answer, reference in zip(talk.turns[:turn], talk.said[:turn], references[:turn], strict=True)
    ]
    return prompt.render(turns=turns, fence=fence.of(*talk.turns[:turn], *talk.said[:turn]))
