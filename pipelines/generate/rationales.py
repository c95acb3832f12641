"""Rationales of one source: asked of a teacher, or there already.

Knows how a task is put to a teacher, and how what was said or read becomes a Rationale. Judges none of them, except
that an empty one is none: a student that learns it would learn to fall silent. Filters and choice come later, over
all sources.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.config import Asked, FromFile, Released
from pipelines.core.hashing import key_of
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Completion, Dropped, Question, Rationale, RationaleTask
from pipelines.core.stage import Outcome, StageRun
from pipelines.generate.cue import after_cue
from pipelines.generate.prompts import Prompt
from pipelines.generate.released_rationales import read
from pipelines.generate.teacher import Request, TeacherId, write_request

NEXT_QUESTION = "\nQuestion:"  # what a document that is gone on with comes to


@dataclass(frozen=True)
class RationaleWork:
    """The row-wise work of a source that is asked (see work.Work)."""

    stage: str
    source: str  # the recipe's name for it
    config: Asked
    teacher: TeacherId
    prompt: Prompt
    reads = RationaleTask
    writes = Rationale
    bought = Completion

    def requests(self, row: RationaleTask) -> list[Request]:
        sampling, is_chat = self.config.sampling, self.prompt.is_chat
        if not is_chat:
            sampling = sampling.model_copy(update={"stop": (*sampling.stop, NEXT_QUESTION)})
        return [write_request(self.teacher, self.prompt.render(task=row.text), sampling, is_chat=is_chat)]

    def settle(self, row: RationaleTask, said: Sequence[Completion | None]) -> list[Rationale | Dropped]:
        return [self._settle_one(row, completion) for completion in said if completion is not None]

    def _settle_one(self, row: RationaleTask, said: Completion) -> Rationale | Dropped:
        text = after_cue(said.text)
        if not text:
            return Dropped(row.id, self.stage, "empty", row.text, said.text)
        id = Rationale.make_id(row.id, self.source, text)
        return Rationale(id, row.id, self.source, text, said.id, said.finish_reason)


def given(config: Released | FromFile, source: str, beside: Path, run: StageRun) -> Outcome:
    """Rows = the rationales that are there, one for each question to learn from that has one.

    `beside` is where TinyLLM's release has them: the folder beside its questions.
    """
    questions = list(rows_of(run.inputs["questions"].folder, Question, lambda question: question.part == "train"))
    stage = f"rationales_{source}"
    found = read(config, source, beside, questions)
    kept: list[Rationale] = []
    dropped = [Dropped(key_of(stage, where), stage, "unreadable", text, where) for where, text in found.unreadable]
    for question in questions:
        if text := found.texts.get(question.id):
            id = Rationale.make_id(question.id, source, text)
            kept.append(Rationale(id, question.id, source, text, "", "stop"))
        else:
            dropped.append(Dropped(question.id, stage, "no rationale", question.stem, ""))
    write_rows(run.folder, kept, Rationale, dropped)
    return Outcome(*summary(run.folder, Rationale), facts=found.facts())
