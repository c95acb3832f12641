"""One answer per instruction, written by a chat teacher.

Knows how an instruction becomes a user's turn and a completion an Answer. Used for the training pool and, with
the held-out tasks, for the evaluation's references.
"""

from dataclasses import dataclass

from pipelines.core.config import Answers
from pipelines.core.hashing import key_of
from pipelines.core.records import Answer, Completion, Dropped, Instruction
from pipelines.generate.teacher import Request, TeacherId, write_request


@dataclass(frozen=True)
class AnswerWork:
    """The row-wise work of `answers` and `references` (see work.Work)."""

    stage: str
    config: Answers
    teacher: TeacherId
    reads = Instruction
    writes = Answer
    bought = Completion

    def request(self, row: Instruction) -> Request:
        return write_request(self.teacher, row.as_prompt(), self.config.sampling)

    def settle(self, row: Instruction, said: Completion) -> Answer | Dropped:
        text = said.text.strip()
        if not text:
            return Dropped(row.id, self.stage, "empty answer", row.text, "")
        if said.finish_reason == "length" and self.config.cut_off == "drop":
            return Dropped(row.id, self.stage, "cut off", row.text, text[-200:])
        id = key_of("answer", row.id, said.id)
        return Answer(id, row.id, said.id, row.as_prompt(), text, said.finish_reason)
