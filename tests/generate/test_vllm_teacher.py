"""What vLLM's errors mean: the request's own cost one row, a dead engine costs the process."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipelines.core.config import Sampling
from pipelines.generate.teacher import RequestFailed, TeacherGone
from pipelines.generate.vllm_teacher import VLLMTeacher, sampling_params

pytestmark = pytest.mark.engine  # imports vLLM, which takes long


class Failing:
    """An engine that answers every request with an error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def generate(self, *asked: Any) -> AsyncIterator[Any]:
        raise self._error
        yield


def asked(error: Exception) -> None:
    teacher = VLLMTeacher.__new__(VLLMTeacher)  # without an engine of its own
    teacher._engine = Failing(error)
    asyncio.run(teacher._last("id", [1, 2], sampling_params(Sampling(), 1)))


def test_a_prompt_that_is_too_long_costs_its_row() -> None:
    from vllm.exceptions import VLLMValidationError

    with pytest.raises(RequestFailed, match="longer than the window"):
        asked(VLLMValidationError("the prompt is longer than the window"))


def test_an_error_over_one_request_costs_its_row() -> None:
    from vllm.v1.engine.exceptions import EngineGenerateError

    error = EngineGenerateError()
    error.__cause__ = KeyError("token 7")
    with pytest.raises(RequestFailed, match="token 7"):
        asked(error)


def test_a_dead_engine_costs_the_process() -> None:
    from vllm.v1.engine.exceptions import EngineDeadError

    with pytest.raises(TeacherGone):
        asked(EngineDeadError())
