"""Multiple-choice questions and rationales become training examples: several tasks of one student, told by prefix.

Knows TinyLLM's source and targets (arXiv 2402.04616, section 3): for each question the answer's text, and every kept
rationale, each after the same question behind a prefix of its own. Neither answer nor rationale is ever in a source.
All examples of a question carry its id, by which they are learnt in one step. How a text becomes tokens
is in `examples.py`, what is kept of the rationales in `generate/rationale_selection.py`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Learn, Rationales
from pipelines.core.hashing import canonical
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Conversation, Dropped, Question, Rationale, TrainExample
from pipelines.core.stage import Done, Outcome, StageRun
from pipelines.train.examples import COMPONENT, STAGE, of_conversation, sizes


@dataclass(frozen=True)
class Task:
    """What the student writes to a question: what holds it, which loss it counts for, its prefix, and the text."""

    id: str  # the question's, or the rationale's
    component: str
    prefix: str
    target: str


def source_of(prefix: str, question: Question) -> str:
    """What the student reads: prefix, question, and its choices by letters."""
    asked = f"{question.context}\n{question.stem}" if question.context else question.stem
    options = "\n".join(f"({chr(ord('a') + n)}) {choice}" for n, choice in enumerate(question.choices))
    return f"{prefix}{asked}\nAnswer Choices:\n{options}"


def trained_on(config: Rationales, done: Mapping[str, Done]) -> Iterator[Conversation]:
    """The finished stage's examples as what was read and what was to be said."""
    questions = {q.id: q for q in rows_of(done["questions"].folder, Question)}
    rationales = {r.id: r for r in rows_of(done["rationales"].folder, Rationale)} if "rationales" in done else {}
    for example in rows_of(done["examples"].folder, TrainExample):
        question = questions[example.group]
        explained = rationales.get(example.answer_id)
        (task,) = tasks_of(question, [], config) if explained is None else [_explaining(explained, config)]
        turns = (source_of(task.prefix, question), task.target)
        lineage = {"question_id": question.id, "answer_id": task.id, "component": task.component}
        yield Conversation(Conversation.make_id("", turns, ""), "", turns, "", canonical(lineage))


def run(config: Rationales, tokenizer: ChatTokenizer, learn: Learn, max_length: int, run: StageRun) -> Outcome:
    """The examples of all questions for training; `rationales` is no input where nobody explains."""
    questions = [q for q in rows_of(run.inputs["questions"].folder, Question) if q.part == "train"]
    rationales: dict[str, list[Rationale]] = {}
    if "rationales" in run.inputs:
        for row in rows_of(run.inputs["rationales"].folder, Rationale):
            rationales.setdefault(row.question_id, []).append(row)
    kept: list[TrainExample] = []
    dropped: list[Dropped] = []
    for question in questions:
        tasks = tasks_of(question, rationales.get(question.id, []), config)
        made, lost = of_question(question, tasks, tokenizer, learn, max_length)
        kept += made
        dropped += lost
    write_rows(run.folder, kept, TrainExample, dropped)
    rows, digest, reasons = summary(run.folder, TrainExample)
    components = dict(sorted(Counter(e.component for e in kept).items()))
    return Outcome(rows, digest, reasons, facts={**sizes(kept), "components": components})


def tasks_of(question: Question, rationales: Sequence[Rationale], config: Rationales) -> Iterator[Task]:
    """The answer first, then what explains it, by source."""
    yield Task(question.id, COMPONENT, config.answer_prefix, question.choices[question.answer])
    yield from (_explaining(row, config) for row in sorted(rationales, key=lambda row: row.source))


def _explaining(row: Rationale, config: Rationales) -> Task:
    return Task(row.id, config.component_of(row.source), config.weighed(row.source)[1], row.text)


def of_question(
    question: Question, tasks: Iterator[Task], tokenizer: ChatTokenizer, learn: Learn, max_length: int
) -> tuple[list[TrainExample], list[Dropped]]:
    """One question's examples. Where its answer is too long to be learnt, nothing of it is."""
    made: list[TrainExample] = []
    dropped: list[Dropped] = []
    for task in tasks:
        row = Conversation(task.id, "", (source_of(task.prefix, question), task.target), "", "{}")
        example = of_conversation(row, tokenizer, learn, max_length)
        if isinstance(example, Dropped):
            dropped.append(replace(example, stage=STAGE, detail=f"{task.component}: {example.detail}"))
            if task.component == COMPONENT:
                break
        else:
            made.append(
                replace(example, component=task.component, instruction_id="", lineage=question.id, group=question.id)
            )
    return made, dropped
