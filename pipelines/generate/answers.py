"""Answers to every instruction, written by a chat teacher.

Knows how an instruction becomes a user's turn and a completion an Answer. Used for the training pool and, with
the held-out tasks and one sample each, for the evaluation's references.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.core import reasoning
from pipelines.core.config import Answers
from pipelines.core.hashing import key_of
from pipelines.core.records import Answer, Completion, Dropped, Instruction
from pipelines.generate import quality
from pipelines.generate.repetition import repeated_3grams
from pipelines.generate.teacher import Request, TeacherId, write_request
from pipelines.generate.work import sample_id


@dataclass(frozen=True)
class AnswerWork:
    """The row-wise work of `answers` and `references` (see work.Work)."""

    stage: str
    config: Answers
    teacher: TeacherId
    reads = Instruction
    writes = Answer
    bought = Completion

    def requests(self, row: Instruction) -> list[Request]:
        ordinals = range(self.config.samples)
        return [write_request(self.teacher, row.as_prompt(), self.config.sampling, ordinal=n) for n in ordinals]

    def settle(self, row: Instruction, said: Sequence[Completion | None]) -> list[Answer | Dropped]:
        return [self._settle_one(row, n, completion) for n, completion in enumerate(said) if completion is not None]

    def _settle_one(self, row: Instruction, sample: int, said: Completion) -> Answer | Dropped:
        marks, thoughts, text = self.config.reasoning, "", said.text.strip()
        if marks is not None:
            parts = reasoning.split(said.text, marks)
            if parts is None:
                return Dropped(sample_id(row.id, sample), self.stage, "unclosed reasoning", row.text, text[-200:])
            thoughts, text = parts if marks.keep != "drop" else ("", parts[1])
        if not text:
            return Dropped(sample_id(row.id, sample), self.stage, "empty answer", row.text, "")
        if said.finish_reason == "length" and self.config.cut_off == "drop":
            return Dropped(sample_id(row.id, sample), self.stage, "cut off", row.text, text[-200:])
        if (share := repeated_3grams(text)) > self.config.max_repetition:
            return Dropped(sample_id(row.id, sample), self.stage, "repeats itself", row.text, f"{share:.2f}: {text}")
        if reason := quality.fault(row.as_prompt(), text, self.config.filters):
            return Dropped(sample_id(row.id, sample), self.stage, reason, row.text, text)
        id = key_of("answer", row.id, said.id)
        return Answer(id, row.id, said.id, row.as_prompt(), text, said.finish_reason, sample, thoughts)
