"""Which tokens of a conversation are learnt: weights worked by hand, the end token, and what is too long."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Reasoning
from pipelines.core.parts import rows_of, write_rows
from pipelines.core.records import Answer, Dropped, Instruction, TrainExample
from pipelines.core.stage import StageRun
from pipelines.core.storage import Folder
from pipelines.train.examples import encode, encode_own, make, run

_PROMPT, _TEXT = "Name a colour.", "Deep red."


def test_the_answer_and_its_end_token_weigh_one_and_all_else_nothing(
    tokenizer: ChatTokenizer, answer: Callable[..., Answer]
) -> None:
    example = encode(answer(_PROMPT, _TEXT), tokenizer)
    # The template puts nothing between the opened turn, the answer and the end token: three pieces, side by side.
    before = tokenizer.encode(tokenizer.render([{"role": "user", "content": _PROMPT}], for_answer=True))
    learnt = [*tokenizer.encode(_TEXT), tokenizer.eos_id]
    assert len(learnt) > 2
    assert list(example.token_ids) == before + learnt  # and so nothing follows the end token
    assert list(example.weights) == [0.0] * len(before) + [1.0] * len(learnt)


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_cut_off_answer_has_no_end_token_to_learn(
    tokenizer: ChatTokenizer, answer: Callable[..., Answer], finish: str
) -> None:
    whole = encode(answer(_PROMPT, _TEXT), tokenizer)
    cut_off = encode(answer(_PROMPT, _TEXT, finish), tokenizer)
    assert cut_off.token_ids == whole.token_ids[:-1]
    assert cut_off.weights == whole.weights[:-1]
    assert cut_off.weights[-1] == 1.0
    assert cut_off.id != whole.id


def test_a_students_own_answer_keeps_its_tokens_however_it_spelled_its_words(
    tokenizer: ChatTokenizer, answer: Callable[..., Answer]
) -> None:
    letters = [id for letter in _TEXT for id in tokenizer.encode(letter)]
    assert tokenizer.decode(letters) == _TEXT
    assert letters != tokenizer.encode(_TEXT)
    example = encode_own(answer(_PROMPT, _TEXT, "length"), letters, tokenizer)
    before = tokenizer.prompt_ids(_PROMPT)
    assert example.token_ids == (*before, *letters)  # no end was said, and none is learnt
    assert example.weights == (0.0,) * len(before) + (1.0,) * len(letters)


def test_end_tokens_of_other_turns_weigh_nothing(tokenizer: ChatTokenizer, answer: Callable[..., Answer]) -> None:
    example = encode(answer(_PROMPT, _TEXT), tokenizer)
    ends = [weight for id, weight in zip(example.token_ids, example.weights, strict=True) if id == tokenizer.eos_id]
    assert len(ends) > 1  # the user's turn ends with the same token
    assert ends == [0.0] * (len(ends) - 1) + [1.0]


def test_what_is_too_long_is_dropped_with_its_reason_and_never_cut(
    tokenizer: ChatTokenizer, answer: Callable[..., Answer]
) -> None:
    short, long = answer(_PROMPT, _TEXT), answer(_PROMPT, _TEXT + " Or blue, or green.")
    bound = len(encode(short, tokenizer).token_ids)
    dropped, kept = make([long, short], partial(encode, tokenizer=tokenizer), max_length=bound)
    assert isinstance(kept, TrainExample)
    assert kept.answer_id == short.id
    assert len(kept.token_ids) == bound
    size = len(encode(long, tokenizer).token_ids)
    assert isinstance(dropped, Dropped)
    assert (dropped.id, dropped.stage, dropped.reason) == (long.id, "examples", "too long")
    assert str(size) in dropped.detail
    assert str(bound) in dropped.detail


def test_thoughts_are_trained_on_as_the_beginning_of_the_answer(
    tokenizer: ChatTokenizer, answer: Callable[..., Answer]
) -> None:
    thought = replace(answer(_PROMPT, _TEXT), reasoning="Warm ones?")
    said = "<think>\nWarm ones?\n</think>\n\nDeep red."
    example = encode(thought, tokenizer, Reasoning(keep="train"))
    assert example.token_ids == encode(answer(_PROMPT, said), tokenizer).token_ids
    learnt = [id for id, weight in zip(example.token_ids, example.weights, strict=True) if weight]
    assert tokenizer.decode(learnt) == said
    assert encode(thought, tokenizer).token_ids == encode(answer(_PROMPT, _TEXT), tokenizer).token_ids


def test_answers_to_a_task_and_to_its_rewritings_share_a_lineage(
    tokenizer: ChatTokenizer, answer: Callable[..., Answer], runs: Folder, stage_run: Callable[..., StageRun]
) -> None:
    seed = Instruction("seed", "Name a colour.", "", "seed", "train", (), "", "")
    rewritten = replace(seed, id="rewritten", origin="bootstrap", parents=("seed",), group="prompt")
    again = replace(rewritten, id="again", parents=("rewritten",))  # its parent went no further than its own stage
    write_rows(runs.child("evolved_1"), [rewritten], Instruction)
    write_rows(runs.child("instructions"), [seed, again], Instruction)
    answers = [replace(answer(_PROMPT, _TEXT), id=id, instruction_id=id) for id in ("seed", "again")]
    write_rows(runs.child("answers"), answers, Answer)
    inputs = {name: runs.child(name) for name in ("answers", "instructions", "evolved_1")}
    stage = stage_run("examples", **inputs)
    outcome = run("examples", partial(encode, tokenizer=tokenizer), 500, stage)
    assert [(e.instruction_id, e.lineage) for e in rows_of(stage.folder, TrainExample)] == [
        ("seed", "seed"), ("again", "seed"),
    ]  # fmt: skip
    assert outcome.facts["cut"] == 0
