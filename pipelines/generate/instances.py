"""Self-Instruct's second to fourth pass (arXiv 2212.10560, section 2.1): from an instruction to tasks with answers.

Knows how a task's type is asked for, how examples of it are, and which of them are kept. A task that has its type
or its answer already, as seeds have, is not asked for it again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.core.config import Instances
from pipelines.core.hashing import key_of
from pipelines.core.records import Completion, Dropped, Instruction
from pipelines.generate.prompts import Prompt
from pipelines.generate.teacher import Request, TeacherId, write_request

_YES = re.compile(r"\W*yes\b", re.IGNORECASE)
_EXAMPLE = re.compile(r"^[ \t]*Example \d+[ \t]*:?[ \t]*$", re.MULTILINE)
_OUTPUT = re.compile(r"^[ \t]*Output:", re.MULTILINE)
_LABEL = re.compile(r"^[ \t]*Label:", re.MULTILINE)
_INPUT = re.compile(r"\A\s*Input:")


@dataclass(frozen=True)
class TaskTypeWork:
    """Pass 2, row-wise: is the answer one label of a few? Whatever is not a yes means no (see work.Work)."""

    teacher: TeacherId
    config: Instances
    prompt: Prompt
    reads = Instruction
    writes = Instruction
    bought = Completion

    def requests(self, row: Instruction) -> list[Request]:
        if row.task_type != "unknown":
            return []
        text = self.prompt.render(task=row.text)
        sampling = self.config.task_type_sampling
        sampling = sampling.model_copy(update={"stop": (*sampling.stop, "\n")})
        return [write_request(self.teacher, text, sampling, is_chat=self.prompt.is_chat)]

    def settle(self, row: Instruction, said: Sequence[Completion | None]) -> list[Instruction]:
        if not said:
            return [row]
        return [replace(row, task_type="classification" if _YES.match(c.text) else "generation") for c in said if c]


@dataclass(frozen=True)
class InstanceWork:
    """Passes 3 and 4, row-wise: examples of a task, each of which becomes a task with an answer (see work.Work)."""

    stage: str
    teacher: TeacherId
    config: Instances
    input_first: Prompt
    output_first: Prompt
    reads = Instruction
    writes = Instruction
    bought = Completion

    def requests(self, row: Instruction) -> list[Request]:
        if row.reference:
            return []
        prompt = self.output_first if row.task_type == "classification" else self.input_first
        stop = (*self.config.sampling.stop, f"\nExample {self.config.most + 1}\n", "\nTask:")
        sampling = self.config.sampling.model_copy(update={"stop": stop})
        return [write_request(self.teacher, prompt.render(task=row.text), sampling, is_chat=prompt.is_chat)]

    def settle(self, row: Instruction, said: Sequence[Completion | None]) -> list[Instruction | Dropped]:
        if not said:
            return [row]
        return [made for completion in said if completion for made in self._settle(row, completion)]

    def _settle(self, row: Instruction, said: Completion) -> list[Instruction | Dropped]:
        read = labelled(said.text) if row.task_type == "classification" else exemplified(said.text)
        judged = judge(read, said.finish_reason == "length", self.config.most, row.id)
        made: list[Instruction | Dropped] = []
        for n, (instance, reason) in enumerate(judged):
            if reason:
                detail = f"{instance.input!r} -> {instance.output!r}"
                made.append(Dropped(key_of(self.stage, said.id, n), self.stage, reason, row.text, detail))
            else:
                made.append(_task(row, instance, said.id))
        return made


@dataclass(frozen=True)
class Instance:
    """An input ("" for none) and its output; `output` is None where the text has no place that says so."""

    input: str
    output: str | None


def exemplified(text: str) -> list[Instance]:
    """Numbered examples of input and output, or one output alone."""
    return [_input_first(piece) for piece in _EXAMPLE.split(text) if piece.strip()]


def labelled(text: str) -> list[Instance]:
    """Labels, each with the input that it is right for."""
    before, *pieces = _LABEL.split(text)
    lost = [Instance(before.strip(), None)] if before.strip() else []
    return lost + [_output_first(piece) for piece in pieces]


def judge(instances: Sequence[Instance], cut: bool, most: int, task: str) -> list[tuple[Instance, str]]:
    """Each instance with the reason why it is dropped, "" for none, in their order."""
    judged = [(i, "cut off" if cut and n == len(instances) - 1 else _fault(i)) for n, i in enumerate(instances)]
    kept = [i for i, reason in judged if not reason]
    outputs: dict[str, set[str | None]] = {}
    for instance in kept:
        outputs.setdefault(instance.input, set()).add(instance.output)
    if any(input and len(said) > 1 for input, said in outputs.items()):
        return [(i, reason or "outputs differ") for i, reason in judged]
    # By hash, so that the choice depends on nothing but the task and its instances.
    chosen = set(sorted(set(kept), key=lambda i: key_of("choose", task, i.input, i.output))[:most])
    seen: set[Instance] = set()
    for n, (instance, reason) in enumerate(judged):
        if not reason:
            judged[n] = (instance, "duplicate" if instance in seen else "" if instance in chosen else "one too many")
            seen.add(instance)
    return judged


def _fault(instance: Instance) -> str:
    if instance.output is None:
        return "nothing to read"
    if not instance.output:
        return "empty output"
    if instance.input == instance.output:
        return "input is output"
    if instance.input.endswith(":") or instance.output.endswith(":"):
        return "ends with a colon"
    return ""


def _input_first(piece: str) -> Instance:
    parts = _OUTPUT.split(piece, maxsplit=1)
    return Instance(_INPUT.sub("", parts[0]).strip(), parts[1].strip() if len(parts) > 1 else None)


def _output_first(piece: str) -> Instance:
    label, _, rest = piece.strip().partition("\n")
    return Instance(_INPUT.sub("", rest).strip(), label.strip())


def _task(row: Instruction, instance: Instance, completion_id: str) -> Instruction:
    """The task with this instance. Without an input it is the same task still, and not its own child."""
    assert instance.output, "an instance without an output was kept"
    id = Instruction.make_id(row.text, instance.input)
    parents = row.parents if id == row.id else (row.id,)
    return replace(
        row, id=id, input=instance.input, parents=parents, completion_id=completion_id, reference=instance.output
    )
