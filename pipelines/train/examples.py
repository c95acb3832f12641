"""Answers and conversations become training examples: token ids with the weight of predicting each.

Knows roles and which of them carry loss under which method. Does not know models or losses.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pipelines.core import reasoning
from pipelines.core.chat import ChatTokenizer, Role, Tokens
from pipelines.core.config import Learn, Reasoning
from pipelines.core.hashing import key_of
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Answer, Conversation, Dropped, TrainExample
from pipelines.core.stage import Outcome, StageRun

STAGE = "examples"
COMPONENT = "answer"


def run(tokenizer: ChatTokenizer, max_length: int, marks: Reasoning | None, run: StageRun) -> Outcome:
    """Render every answer once; with `marks` its teacher's thoughts before it."""
    answers = rows_of(run.inputs["answers"].folder, Answer)
    kept, dropped = make(answers, tokenizer, max_length, marks)
    write_rows(run.folder, kept, TrainExample, dropped)
    rows, digest, reasons = summary(run.folder, TrainExample)
    return Outcome(rows, digest, reasons, facts=sizes(kept))


def sizes(examples: Iterable[TrainExample]) -> dict[str, int]:
    """How many tokens there are, how many of them are learnt, and how many examples were cut."""
    made = list(examples)
    weighted = sum(w > 0 for e in made for w in e.weights)
    return {"tokens": sum(len(e.token_ids) for e in made), "weighted_tokens": weighted, "cut": sum(e.cut for e in made)}


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
    """An answer as an example; one that did not end by itself has no end token to learn."""
    said = reasoning.joined(answer.reasoning, answer.text, marks) if marks and answer.reasoning else answer.text
    tokens = tokenizer.tokens([{"role": "user", "content": answer.prompt}, {"role": "assistant", "content": said}])
    weights = token_weights(tokens.roles, Learn())
    if answer.finish_reason != "stop":
        weights = [0.0 if role == "end" else w for role, w in zip(tokens.roles, weights, strict=True)]
    ids, weights = _until_last_weight(tokens.ids, weights)
    id = key_of("example", answer.id, list(ids), weights)
    return TrainExample(id, answer.id, answer.instruction_id, COMPONENT, ids, tuple(weights), answer.instruction_id)


def of_conversation(
    row: Conversation, tokenizer: ChatTokenizer, learn: Learn, max_length: int, weight: float = 1.0
) -> TrainExample | Dropped:
    """A conversation as an example, all its weights times `weight`.

    One longer than `max_length` tokens is dropped, or cut: to the turns that fit or, where not even the first answer
    does, within it, and then there is no end token to learn.
    """
    turns, tokens = len(row.turns), rendered(row, tokenizer)
    whole = len(tokens.ids)
    while len(tokens.ids) > max_length and turns > 2 and learn.too_long == "cut":
        turns -= 2
        tokens = rendered(replace(row, turns=row.turns[:turns]), tokenizer)
    weights = [w * weight for w in token_weights(tokens.roles, learn)]
    ids, weights = _until_last_weight(tokens.ids, weights)
    answered = "assistant" in tokens.roles[:max_length]
    if len(ids) > max_length and (learn.too_long == "drop" or not answered):
        detail = f"{whole} tokens, max_length is {max_length}"
        return Dropped(row.id, STAGE, "too long", row.turns[0], detail)
    cut = len(ids) > max_length or turns < len(row.turns)
    ids, weights = ids[:max_length], weights[:max_length]
    id = key_of("example", row.id, list(ids), weights)
    return TrainExample(id, row.id, row.id, COMPONENT, ids, tuple(weights), lineage=row.id, cut=cut)


def token_weights(roles: Sequence[Role], learn: Learn) -> list[float]:
    """The weight of predicting each token, by its role.

    Instruction modelling (arXiv 2405.14394) as the paper defines it leaves out the template's tokens and trains those
    that end an answer. Its released code masks the first marker only, and so trains later markers and separators too.
    """
    prompt = learn.prompt_weight if learn.prompt_weight is not None else float(learn.method != "sft")
    others = prompt if learn.method == "im-released" else 0.0
    by_role = {"assistant": 1.0, "end": 1.0, "template": others}
    first = next((n for n, role in enumerate(roles) if role != "template"), 0)
    return [0.0 if n < first else by_role.get(role, prompt) for n, role in enumerate(roles)]


def rendered(row: Conversation, tokenizer: ChatTokenizer) -> Tokens:
    """A conversation's tokens and their roles. The Alpaca template has a place of its own for the input."""
    messages = row.messages()
    if tokenizer.template == "alpaca" and row.input:
        at = int(bool(row.system))  # the first user turn
        messages[at : at + 1] = [{"role": "user", "content": row.turns[0]}, {"role": "input", "content": row.input}]
    return tokenizer.tokens(messages)


def _until_last_weight(ids: tuple[int, ...], weights: list[float]) -> tuple[tuple[int, ...], list[float]]:
    """Tokens after the last weighted one are left off, as nothing is learnt from them."""
    stop = max((n for n, weight in enumerate(weights) if weight > 0), default=-1) + 1
    return ids[:stop], weights[:stop]
