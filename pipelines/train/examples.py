"""Answers and given conversations become training examples: token ids with the weight of predicting each.

Knows records and what is done with those that are too long. Which tokens weigh what is in `weights.py`, how a text is
rendered in `core/chat.py`, what belongs together in `lineage.py`. Does not know models or losses.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from pipelines.core import reasoning
from pipelines.core.chat import ChatTokenizer, Tokens
from pipelines.core.config import Learn, Reasoning
from pipelines.core.hashing import key_of
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Answer, Conversation, Dropped, Instruction, TrainExample
from pipelines.core.stage import Outcome, StageRun
from pipelines.train import lineage
from pipelines.train.weights import kept, token_weights

STAGE = "examples"
COMPONENT = "answer"
CHOSEN, REJECTED = PREFERENCE = ("chosen", "rejected")  # components of the two answers of a preference


def run(name: str, encoded: Callable[[Answer], TrainExample], max_length: int, run: StageRun) -> Outcome:
    """The stage `name`: every answer, encoded once. All other inputs hold their tasks."""
    folders = [done.folder for role, done in run.inputs.items() if role != "answers"]
    tasks = lineage.by_id(task for folder in folders for task in rows_of(folder, Instruction))
    answers, seen = rows_of(run.inputs["answers"].folder, Answer), Sizes()

    def made() -> Iterator[TrainExample | Dropped]:  # a million examples' tokens would not fit into the driver
        for row in make(answers, encoded, max_length, name):
            if isinstance(row, TrainExample):
                seen.add(row)
                row = replace(row, lineage=lineage.of_task(row.instruction_id, tasks))
            yield row

    write_rows(run.folder, made(), TrainExample)
    return Outcome(*summary(run.folder, TrainExample), facts=asdict(seen))


@dataclass
class Sizes:
    """How many tokens there are, how many of them are learnt, and how many examples were cut."""

    tokens: int = 0
    weighted_tokens: int = 0
    cut: int = 0

    def add(self, example: TrainExample) -> None:
        self.tokens += example.size
        self.weighted_tokens += sum(w > 0 for w in example.weights)
        self.cut += example.cut


def sizes(examples: Iterable[TrainExample]) -> dict[str, int]:
    """Those of examples that are at hand."""
    seen = Sizes()
    for example in examples:
        seen.add(example)
    return asdict(seen)


def make(
    answers: Iterable[Answer], encoded: Callable[[Answer], TrainExample], max_length: int, stage: str = STAGE
) -> Iterator[TrainExample | Dropped]:
    """Examples in the answers' order; one longer than `max_length` tokens is dropped, never cut silently."""
    for answer in answers:
        example = encoded(answer)
        if len(example.token_ids) > max_length:
            detail = f"{len(example.token_ids)} tokens, max_length is {max_length}"
            yield Dropped(answer.id, stage, "too long", answer.prompt, detail)
        else:
            yield example


def encode(answer: Answer, tokenizer: ChatTokenizer, marks: Reasoning | None = None) -> TrainExample:
    """An answer as an example, whole, with `marks` around the thoughts before it.

    One that did not end by itself has no end token to learn.
    """
    said = reasoning.joined(answer.reasoning, answer.text, marks) if marks and answer.reasoning else answer.text
    tokens = tokenizer.tokens([{"role": "user", "content": answer.prompt}, {"role": "assistant", "content": said}])
    weights = token_weights(tokens.roles, Learn(), ended=answer.finish_reason == "stop")
    stop, _ = kept(tokens.roles, weights, None)
    id = key_of("example", answer.id, list(tokens.ids[:stop]), weights[:stop])
    task = answer.instruction_id
    return TrainExample(id, answer.id, task, COMPONENT, tokens.ids[:stop], tuple(weights[:stop]), task)


def encode_own(answer: Answer, said: Sequence[int], tokenizer: ChatTokenizer) -> TrainExample:
    """A student's own answer in the very tokens that it said, the end token among them if it came to that.

    Made of its words again they could be others, as most texts can be spelled in several ways.
    """
    prompt = tokenizer.prompt_ids(answer.prompt)
    ids, weights = (*prompt, *said), (0.0,) * len(prompt) + (1.0,) * len(said)
    id, task = key_of("example", answer.id, ids, weights), answer.instruction_id
    return TrainExample(id, answer.id, task, COMPONENT, ids, weights, task)


def of_conversation(
    row: Conversation, tokenizer: ChatTokenizer, learn: Learn, max_length: int, weight: float = 1.0
) -> TrainExample | Dropped:
    """A conversation as an example, all its weights times `weight`.

    One longer than `max_length` tokens is dropped, or cut where something is left to learn: see `weights.kept`, and
    `_readable` for what an encoder reads. That has as many tokens of its own.
    """
    assert weight > 0, f"a source that weighs {weight} trains nothing"
    whole = rendered(row, tokenizer)
    tokens = _readable(row, whole, tokenizer, max_length)
    weights = [weight * each for each in token_weights(tokens.roles, learn)]
    stop, cut = kept(tokens.roles, weights, max_length)
    cut = cut or tokens is not whole
    if stop == 0 or len(tokens.encoder_ids) > max_length or (cut and learn.too_long == "drop"):
        detail = f"{_lengths(whole)}, max_length is {max_length}"
        return Dropped(row.id, STAGE, "too long", row.turns[0], detail)
    read_too = [list(tokens.encoder_ids)] if tokens.encoder_ids else []
    id = key_of("example", row.id, list(tokens.ids[:stop]), weights[:stop], *read_too)
    return TrainExample(
        id, row.id, row.id, COMPONENT, tokens.ids[:stop], tuple(weights[:stop]), lineage=row.id, cut=cut,
        encoder_ids=tokens.encoder_ids,
    )  # fmt: skip


def _readable(row: Conversation, whole: Tokens, tokenizer: ChatTokenizer, most: int) -> Tokens:
    """The conversation without its first turns, where an encoder would read more than `most`; the question stays."""
    tokens = whole
    while len(tokens.encoder_ids) > most and len(row.turns) > 2:
        row = replace(row, turns=row.turns[2:], input="")
        tokens = rendered(row, tokenizer)
    return tokens


def _lengths(tokens: Tokens) -> str:
    if tokens.encoder_ids:
        return f"{len(tokens.encoder_ids)} tokens to read and {len(tokens.ids)} to write"
    return f"{len(tokens.ids)} tokens"


def rendered(row: Conversation, tokenizer: ChatTokenizer) -> Tokens:
    """A conversation's tokens and their roles. The Alpaca template has a place of its own for the input."""
    messages = row.messages()
    if tokenizer.template == "alpaca" and row.input:
        at = int(bool(row.system))  # the first user turn
        messages[at : at + 1] = [{"role": "user", "content": row.turns[0]}, {"role": "input", "content": row.input}]
    return tokenizer.tokens(messages)
