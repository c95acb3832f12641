"""A request's id: what was asked of which model, and nothing else."""

import pytest

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Sampling
from pipelines.generate.teacher import TeacherId, score_request, write_request

TEACHER = TeacherId("main", "digest-1")
SAMPLING = Sampling(temperature=0.5)


def test_a_completions_id_hashes_model_prompt_sampling_and_ordinal() -> None:
    one = write_request(TEACHER, "Why?", SAMPLING)
    assert one == write_request(TeacherId("another name", "digest-1"), "Why?", Sampling(temperature=0.5))
    others = [
        write_request(TeacherId("main", "digest-2"), "Why?", SAMPLING),
        write_request(TEACHER, "Why", SAMPLING),
        write_request(TEACHER, "Why?", SAMPLING, is_chat=False),
        write_request(TEACHER, "Why?", SAMPLING.model_copy(update={"stop": ("\n",)})),
        write_request(TEACHER, "Why?", SAMPLING, ordinal=1),
    ]
    assert len({request.id for request in [one, *others]}) == 6
    assert len({request.seed for request in [one, *others]}) == 6


def test_a_prompt_is_rendered_by_the_tokenizer_of_whom_it_is_put_to(tokenizer: ChatTokenizer) -> None:
    turn = write_request(TEACHER, "Why?", SAMPLING).prompt_ids(tokenizer)
    opened = tokenizer.encode("<|im_start|>assistant\n")
    assert turn[-len(opened) :] == opened
    assert write_request(TEACHER, "Why?", SAMPLING, is_chat=False).prompt_ids(tokenizer) == tokenizer.encode("Why?")


def test_a_signals_id_hashes_the_very_tokens_that_are_scored() -> None:
    one = score_request(TEACHER, "e1", [5, 6, 7], [1, 2], 4)
    others = [
        score_request(TeacherId("main", "digest-2"), "e1", [5, 6, 7], [1, 2], 4),
        score_request(TEACHER, "e2", [5, 6, 7], [1, 2], 4),
        score_request(TEACHER, "e1", [5, 6, 8], [1, 2], 4),
        score_request(TEACHER, "e1", [5, 6, 7], [2], 4),
        score_request(TEACHER, "e1", [5, 6, 7], [1, 2], 8),
    ]
    assert len({request.id for request in [one, *others]}) == 6
    with pytest.raises(AssertionError, match="first token"):
        score_request(TEACHER, "e1", [5, 6, 7], [0, 1], 4)


def test_a_conversation_has_an_id_of_its_own_and_single_turns_keep_theirs(tokenizer: ChatTokenizer) -> None:
    alone = write_request(TEACHER, "Why?", Sampling(temperature=0.5, max_tokens=9))
    assert alone.id == "e4a49e0ad6869ab5"  # as ledgers have it
    later = write_request(TEACHER, "Why?", SAMPLING, earlier=["Hello.", "Good day."])
    others = [
        write_request(TEACHER, "Why?", SAMPLING),
        write_request(TEACHER, "Why?", SAMPLING, earlier=["Hello.", "Good night."]),
        write_request(TEACHER, "Why?", SAMPLING, earlier=["Hello.", "Good day.", "Ah.", "So."]),
    ]
    assert len({request.id for request in [later, *others]}) == 4
    assert later.messages == [
        {"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": "Why?"},
    ]  # fmt: skip
    assert later.prompt_ids(tokenizer) == tokenizer.encode(tokenizer.render(later.messages, for_answer=True))
    with pytest.raises(AssertionError, match="a document has no turns"):
        write_request(TEACHER, "Why?", SAMPLING, is_chat=False, earlier=["Hello.", "Good day."])
