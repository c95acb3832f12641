"""What every teacher is shown of a question before it explains it: others with their answers, then the question itself.

Knows the blocks that TinyLLM's teachers read (arXiv 2402.04616): question, lettered options, the letter of the right
one, rationale. The answer stands in the prompt, so that teachers explain it rather than find it. Does not know
teachers: all of them are shown the same.
"""

from collections.abc import Sequence
from random import Random

from pipelines.core.config import InContext, Rationales
from pipelines.core.hashing import key_of, seed_of
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Question, Rationale, RationaleTask
from pipelines.core.stage import Done, Outcome, StageRun
from pipelines.generate.conclusions import letter, lettered
from pipelines.generate.cue import CUE
from pipelines.generate.rationale_filters import fault, trimmed


def run(config: InContext, seed: int, run: StageRun) -> Outcome:
    """Rows = a task for each question to learn from. With the input `worked` only questions that have a good rationale
    there are shown, and it with them."""
    questions = list(rows_of(run.inputs["questions"].folder, Question, lambda question: question.part == "train"))
    worked = _good(run.inputs["worked"], questions) if "worked" in run.inputs else None
    pool = questions if worked is None else [question for question in questions if question.id in worked]
    tasks: list[RationaleTask] = []
    for question in questions:
        shown = drawn(question, pool, config.count, seed)
        blocks = [block(other, worked[other.id] if worked else None) for other in shown]
        text = "\n\n".join([*blocks, block(question, "")])
        tasks.append(RationaleTask(question.id, tuple(other.id for other in shown), text))
    write_rows(run.folder, tasks, RationaleTask)
    fewer = sum(len(task.shown) < config.count for task in tasks)
    return Outcome(*summary(run.folder, RationaleTask), facts={"to_choose_from": len(pool), "shown_fewer": fewer})


def drawn(question: Question, pool: Sequence[Question], count: int, seed: int) -> list[Question]:
    """Up to `count` of the pool's, never the question itself. The seed and its id, a hash of its words, say which."""
    chance = Random(seed_of(key_of("in context", seed, question.id)))
    chosen = chance.sample(pool, min(count + 1, len(pool)))  # one to spare, should it be among them
    return [other for other in chosen if other.id != question.id][:count]


def block(question: Question, rationale: str | None) -> str:
    """A question with its answer: without rationale, or with one; "" leaves it open where it begins."""
    parts = [
        *(("Context:", question.context) if question.context else ()),
        *("Question:", question.stem),
        *("Options:", *lettered(question.choices)),
        *("Answer:", letter(question.answer)),
    ]
    if rationale is not None:
        parts += ["Rationale:", f"{CUE} {rationale}".strip()]
    return "\n".join(parts)


def _good(worked: Done, questions: Sequence[Question]) -> dict[str, str]:
    """Question id -> a rationale for teachers to follow. All filters hold here, whichever hold for the student."""
    filters, min_words = Rationales().filters, Rationales().min_words
    by_id = {question.id: question for question in questions}
    good: dict[str, str] = {}
    for row in rows_of(worked.folder, Rationale, lambda row: row.question_id in by_id):
        whole = trimmed(row)
        if fault(whole, by_id[row.question_id], filters, min_words) is None:
            good[row.question_id] = whole.text
    return good
