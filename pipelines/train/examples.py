"""Answers become training examples: token ids with the weight of predicting each.

Knows roles and weights (instruction tuning: weight 1 on the answer's tokens and its end token, 0 elsewhere).
Does not know models or losses. An answer that did not end by itself has no end token to learn.
"""

from collections.abc import Iterable

from pipelines.core import reasoning
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Reasoning
from pipelines.core.hashing import key_of
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Answer, Dropped, TrainExample
from pipelines.core.stage import Outcome, StageRun

STAGE = "examples"
COMPONENT = "answer"


def run(tokenizer: ChatTokenizer, max_length: int, marks: Reasoning | None, run: StageRun) -> Outcome:
    """Render every answer once; with `marks` its teacher's thoughts before it."""
    answers = rows_of(run.inputs["answers"].folder, Answer)
    kept, dropped = make(answers, tokenizer, max_length, marks)
    write_rows(run.folder, kept, TrainExample, dropped)
    rows, digest, reasons = summary(run.folder, TrainExample)
    tokens = sum(len(e.token_ids) for e in kept)
    weighted = sum(w > 0 for e in kept for w in e.weights)
    return Outcome(rows, digest, reasons, facts={"tokens": tokens, "weighted_tokens": weighted})


def make(
    answers: Iterable[Answer], tokenizer: ChatTokenizer, max_length: int, marks: Reasoning | None = None
) -> tuple[list[TrainExample], list[Dropped]]:
    """Examples in the answers' order; one longer than `max_length` tokens is dropped, never cut silently."""
    kept: list[TrainExample] = []
    dropped: list[Dropped] = []
    for answer in answers:
        example = encode(answer, tokenizer, marks)
        if len(example.token_ids) > max_length:
            detail = f"{len(example.token_ids)} tokens, max_length is {max_length}"
            dropped.append(Dropped(answer.id, STAGE, "too long", answer.prompt, detail))
        else:
            kept.append(example)
    return kept, dropped


def encode(answer: Answer, tokenizer: ChatTokenizer, marks: Reasoning | None = None) -> TrainExample:
    """One example; tokens after the last weighted one are left off, as nothing is learnt from them."""
    said = reasoning.joined(answer.reasoning, answer.text, marks) if marks and answer.reasoning else answer.text
    tokens = tokenizer.tokens([{"role": "user", "content": answer.prompt}, {"role": "assistant", "content": said}])
    learnt = {"assistant", "end"} if answer.finish_reason == "stop" else {"assistant"}
    weights = [1.0 if role in learnt else 0.0 for role in tokens.roles]
    stop = max((t for t, w in enumerate(weights) if w > 0), default=-1) + 1
    ids = tokens.ids[:stop]
    id = key_of("example", answer.id, list(ids), weights[:stop])
    weights = weights[:stop]
    return TrainExample(id, answer.id, answer.instruction_id, COMPONENT, ids, tuple(weights), answer.instruction_id)
