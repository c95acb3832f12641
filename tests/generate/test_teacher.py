"""A request's id: what was asked of which model, and nothing else."""

import pytest

from pipelines.core.config import Sampling
from pipelines.generate.teacher import TeacherId, score_request, write_request

TEACHER = TeacherId("main", "digest-1")
SAMPLING = Sampling(temperature=0.5)


def test_a_completions_id_hashes_model_prompt_sampling_and_ordinal() -> None:
    one = write_request(TEACHER, "Why?", [1, 2], SAMPLING)
    assert one == write_request(TeacherId("another name", "digest-1"), "Why?", (1, 2), Sampling(temperature=0.5))
    others = [
        write_request(TeacherId("main", "digest-2"), "Why?", [1, 2], SAMPLING),
        write_request(TEACHER, "Why", [1, 2], SAMPLING),
        write_request(TEACHER, "Why?", [1, 3], SAMPLING),
        write_request(TEACHER, "Why?", [1, 2], SAMPLING.model_copy(update={"stop": ("\n",)})),
        write_request(TEACHER, "Why?", [1, 2], SAMPLING, ordinal=1),
    ]
    assert len({request.id for request in [one, *others]}) == 6
    assert len({request.seed for request in [one, *others]}) == 6
    assert one.tokens == 2


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
