"""Answers: what is asked, what is kept, what is dropped and why."""

from dataclasses import replace
from typing import Any, Literal

import pytest

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Answers, Reasoning
from pipelines.core.records import Answer, Completion, Dropped, Instruction
from pipelines.generate.answers import AnswerWork
from pipelines.generate.teacher import TeacherId

ROW = Instruction("i1", "List ten rivers.", "Asia only", "seed", "train", (), "", "")
SAID = Completion("c1", "digest-1", "", " The Ob, \n", (1, 2), "stop", 3, 2)


@pytest.fixture
def work() -> Any:
    def make(cut_off: Literal["keep", "drop"] = "keep", samples: int = 1) -> AnswerWork:
        config = Answers(teacher="main", cut_off=cut_off, samples=samples)
        return AnswerWork("references", config, TeacherId("main", "d"))

    return make


def test_the_instruction_and_its_input_are_one_chat_turn(work: Any, tokenizer: ChatTokenizer) -> None:
    (request,) = work().requests(ROW)
    assert request.prompt == "List ten rivers.\n\nAsia only"
    turn = "<|im_start|>user\nList ten rivers.\n\nAsia only<|im_end|>\n<|im_start|>assistant\n"
    assert request.prompt_ids(tokenizer)[-len(tokenizer.encode(turn)) :] == tokenizer.encode(turn)


def test_an_answer_leads_back_to_its_instruction_and_its_completion(work: Any) -> None:
    (answer,) = work().settle(ROW, [SAID])
    assert isinstance(answer, Answer)
    assert (answer.instruction_id, answer.completion_id, answer.text) == ("i1", "c1", "The Ob,")
    assert answer.prompt == ROW.as_prompt()
    assert answer.id != work().settle(replace(ROW, id="i2"), [SAID])[0].id
    assert answer.id != work().settle(ROW, [replace(SAID, id="c2")])[0].id


def test_samples_are_asked_and_settled_each_by_itself(work: Any) -> None:
    asked = work(samples=3).requests(ROW)
    assert len({r.id for r in asked}) == len({r.seed for r in asked}) == 3
    assert len({(r.prompt, r.is_chat) for r in asked}) == 1
    assert asked[:1] == work().requests(ROW)  # more samples go on where fewer ended
    said = [SAID, None, replace(SAID, id="c3", text=""), replace(SAID, id="c4", text="Lena", finish_reason="length")]
    first, empty, last = work("drop", 4).settle(ROW, said)
    assert (first.sample, first.completion_id, first.instruction_id) == (0, "c1", "i1")
    assert (empty.id, empty.reason) == ("i1.2", "empty answer")
    assert (last.id, last.reason) == ("i1.3", "cut off")
    kept = work(samples=4).settle(ROW, said)[2]
    assert (kept.sample, kept.instruction_id, kept.finish_reason) == (3, "i1", "length")


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_an_empty_answer_is_dropped(work: Any, finish: str) -> None:
    dropped = work("drop").settle(ROW, [replace(SAID, text=" \n", finish_reason=finish)])
    assert dropped == [Dropped("i1", "references", "empty answer", "List ten rivers.", "")]


def test_a_cut_off_answer_is_kept_as_such_or_dropped(work: Any) -> None:
    cut = replace(SAID, finish_reason="length")
    assert work("keep").settle(ROW, [cut])[0].finish_reason == "length"
    assert work("drop").settle(ROW, [cut]) == [Dropped("i1", "references", "cut off", "List ten rivers.", "The Ob,")]
    assert isinstance(work("drop").settle(ROW, [SAID])[0], Answer)


@pytest.mark.parametrize(("keep", "thoughts"), [("drop", ""), ("keep", "The Ob."), ("train", "The Ob.")])
def test_thoughts_go_to_a_field_of_their_own(keep: Any, thoughts: str) -> None:
    config = Answers(teacher="main", reasoning=Reasoning(keep=keep))
    work = AnswerWork("answers", config, TeacherId("main", "d"))
    (answer,) = work.settle(ROW, [replace(SAID, text="<think>The Ob.</think>\n\nOb")])
    assert isinstance(answer, Answer)
    assert (answer.reasoning, answer.text) == (thoughts, "Ob")
    for text, reason in (("<think>The Ob", "unclosed reasoning"), ("<think>The Ob.</think>\n", "empty answer")):
        (dropped,) = work.settle(ROW, [replace(SAID, text=text)])
        assert isinstance(dropped, Dropped)
        assert dropped.reason == reason


def test_without_reasoning_marks_are_text(work: Any) -> None:
    (answer,) = work().settle(ROW, [replace(SAID, text="<think>The Ob")])
    assert (answer.text, answer.reasoning) == ("<think>The Ob", "")


def test_an_answer_that_repeats_itself_is_dropped_where_the_recipe_says_so() -> None:
    loop = replace(SAID, text="a b c a b c")  # one of its four 3-grams stood before
    for most, kept in ((0.25, True), (0.24, False), (1.0, True)):
        config = Answers(teacher="main", max_repetition=most)
        (made,) = AnswerWork("answers", config, TeacherId("main", "d")).settle(ROW, [loop])
        assert isinstance(made, Answer) is kept
        if isinstance(made, Dropped):
            assert (made.reason, made.detail) == ("repeats itself", "0.25: a b c a b c")
