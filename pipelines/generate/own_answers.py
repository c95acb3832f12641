"""Answers that came with their tasks: a seed's, or one that the teacher wrote in one go with its task. Asks nobody.

Knows the shapes of a user's turn that Self-Instruct varies (arXiv 2212.10560, section 2.1, pass 4), in words of ours.
Which one a task gets depends on its id alone.
"""

import re

from pipelines.core.config import OwnAnswers
from pipelines.core.hashing import key_of
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Answer, Dropped, Instruction
from pipelines.core.stage import Outcome, StageRun

STAGE = "answers"
WITH_INPUT = (
    "{task}\n\n{input}",
    "{task}\n\n{input}\n\nOutput:",
    "{task}\n\nInput: {input}\n\nOutput:",
    "Task: {task}\nInput: {input}\nOutput:",
    "Task: {task}\n\n{input}\n\nAnswer:",
    "{input}\n\nTask: {task}",
    "Task: {task}\n\nInput:\n{input}\n\nOutput:",
)
WITHOUT_INPUT = (
    "{task}",
    "{task}\n\nOutput:",
    "{task}\n\nAnswer:",
    "Task: {task}",
    "Task: {task}\nOutput:",
    "Task: {task}\n\nAnswer:",
)
_FIELD = re.compile(r"^[A-Za-z][A-Za-z ]{0,30}:[ \t]*", re.MULTILINE)


def run(config: OwnAnswers, run: StageRun) -> Outcome:
    """Rows = the tasks' own answers; a task without one is dropped."""
    tasks = rows_of(run.inputs["source"].folder, Instruction)
    write_rows(run.folder, (_own_answer(task, config) for task in tasks), Answer)
    return Outcome(*summary(run.folder, Answer))


def _own_answer(task: Instruction, config: OwnAnswers) -> Answer | Dropped:
    if not task.reference:
        return Dropped(task.id, STAGE, "no own answer", task.text, "")
    prompt = varied(task) if config.turns == "varied" else task.as_prompt()
    id = key_of("answer", task.id, task.completion_id, prompt, task.reference)
    return Answer(id, task.id, task.completion_id, prompt, task.reference, "stop")


def varied(task: Instruction) -> str:
    """The user's turn in one of several shapes; half of the inputs lose the name of their only field."""
    chance = int(key_of("turn", task.id), 16)
    simple = chance % 2 == 0
    shapes = WITH_INPUT if task.input else WITHOUT_INPUT
    input = _simplified(task.input) if simple else task.input
    return shapes[chance // 2 % len(shapes)].format(task=task.text, input=input).strip()


def _simplified(input: str) -> str:
    bare = _FIELD.sub("", input) if len(_FIELD.findall(input)) == 1 else input
    return re.sub(r"\n{2,}", "\n", bare)
