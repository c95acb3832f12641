"""Given tasks, rewritten for several generations (in the manner of Evol-Instruct, arXiv 2304.12244).

Knows how a task is put to one of several prompts, and what tells that a rewriting failed. Each generation is a stage
of rows whose parents are the rows of the one before; `gather` puts them together with the tasks they come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.core.config import Evolved
from pipelines.core.hashing import key_of
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Completion, Dropped, Instruction
from pipelines.core.stage import Outcome, StageRun
from pipelines.generate.filters import chain, first_reason
from pipelines.generate.novelty import Pool
from pipelines.generate.prompts import Prompt
from pipelines.generate.quality import refuses
from pipelines.generate.replies import one_line
from pipelines.generate.rouge import rouge_l
from pipelines.generate.teacher import Request, TeacherId, write_request

STAGE = "instructions"


@dataclass(frozen=True)
class EvolveWork:
    """One generation, row-wise (see work.Work). Which prompt a task meets depends on it and the generation alone."""

    stage: str
    teacher: TeacherId
    config: Evolved
    prompts: tuple[Prompt, ...]
    reads = Instruction
    writes = Instruction
    bought = Completion

    def requests(self, row: Instruction) -> list[Request]:
        if row.split == "held_out":
            return []
        prompt = self._prompt(row)
        task, stop = (row.as_prompt(), ()) if prompt.is_chat else (" ".join(row.as_prompt().split()), ("\n",))
        sampling = self.config.sampling.model_copy(update={"stop": (*self.config.sampling.stop, *stop)})
        return [write_request(self.teacher, prompt.render(task=task), sampling, is_chat=prompt.is_chat)]

    def settle(self, row: Instruction, said: Sequence[Completion | None]) -> list[Instruction | Dropped]:
        return [self._settle(row, completion) for completion in said if completion is not None]

    def _settle(self, row: Instruction, said: Completion) -> Instruction | Dropped:
        prompt = self._prompt(row)
        text = said.text.strip() if prompt.is_chat else one_line(said.text)
        if reason := self._fault(row, text, said.finish_reason, prompt.markers()):
            return Dropped(key_of(self.stage, said.id), self.stage, reason, text, f"from {row.as_prompt()!r}")
        group = key_of("group", self.teacher.digest, said.prompt)
        id = Instruction.make_id(text, "")
        return Instruction(id, text, "", "bootstrap", "train", (row.id,), said.id, "", group)

    def _fault(self, row: Instruction, text: str, finish_reason: str, markers: tuple[str, ...]) -> str:
        if finish_reason == "length":
            return "cut off"
        if not text:
            return "empty"
        if refuses(text):
            return "refusal"
        if any(marker in text.lower() for marker in markers):
            return "copies the prompt"
        return "like its parent" if rouge_l(text, row.as_prompt()) > self.config.max_rouge_l_with_parent else ""

    def _prompt(self, row: Instruction) -> Prompt:
        return self.prompts[int(key_of("way", self.stage, row.id), 16) % len(self.prompts)]


def gather(config: Evolved, run: StageRun) -> Outcome:
    """Rows = the given tasks, then every generation's that pass the filters and are like no held-out task."""
    given = list(rows_of(run.inputs["seeds"].folder, Instruction))
    kept = [i for i in given if i.split == "train"]
    apart, filters = Pool(config.max_rouge_l), chain(config)
    for task in given:
        if task.split == "held_out":
            apart.add(task.text)
    seen, dropped = {i.id for i in kept}, []
    for generation in range(1, config.generations + 1):
        for task in rows_of(run.inputs[f"evolved_{generation}"].folder, Instruction):
            reason = first_reason(task.text, filters)
            if reason is None and task.id in seen:
                reason = "duplicate"
            near = apart.nearest(task.text) if reason is None else None
            if near is not None:
                reason = "like a held-out task"
            if reason is not None:
                detail = f"ROUGE-L {near.score:.2f} with {near.text!r}" if near else ""
                id = key_of(STAGE, reason, task.id, generation)
                dropped.append(Dropped(id, STAGE, reason, task.text, detail))
            else:
                seen.add(task.id)
                kept.append(task)
    write_rows(run.folder, kept, Instruction, dropped)
    return Outcome(*summary(run.folder, Instruction))
