"""Models under evaluation: how each is reached, who writes its answers, and who tells likelihoods, where anybody can.

Knows our own endpoints and teachers behind an API. Does not know what is asked. A likelihood per token compares only
between models with the same tokens: one with others, or one that is asked in words, has none.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from cluster.models import parameter_count
from pipelines.core.chat import ChatTokenizer
from pipelines.core.hashing import key_of
from pipelines.core.records import Completion
from pipelines.core.storage import Folder
from pipelines.generate.asking import Asking
from pipelines.generate.ledger import Ledger
from pipelines.generate.teacher import Request, Teacher
from serving.api import Address, Api
from serving.client import HostedModel, ServedModel, address
from serving.faculty import ClusterFaculty
from serving.served import Served


class Writer(Protocol):
    """What answers prompts; RequestFailed costs the prompt."""

    async def write(self, request: Request) -> Completion: ...


@dataclass(frozen=True)
class Examinee:
    """One model. `speak` gives, over an open connection, its writer and its scorer or None."""

    name: str
    address: Address
    speak: Callable[[Api], tuple[Writer, ServedModel | None]]
    parameters: int | None  # None: nobody here knows


def at_endpoint(name: str, base_url: str, served: Served, tokenizer: ChatTokenizer) -> Examinee:
    """A model that we serve. It is scored in the tokens of `tokenizer`, which render the references."""
    scored = _same_tokens(tokenizer, ChatTokenizer(str(served.folder)))

    def speak(api: Api) -> tuple[Writer, ServedModel | None]:
        writer = HostedModel(api, served.name, "", chat=True)
        return writer, ServedModel(api, served.name, tokenizer) if scored else None

    return Examinee(name, Address(base_url, name), speak, parameter_count(served.folder))


def behind_api(name: str, faculty: ClusterFaculty, teacher: str, tokenizer: ChatTokenizer, runs: Folder) -> Examinee:
    """A teacher of kind http. Its answers go through the ledger, as all that is bought of it."""
    spec = faculty.http(teacher)
    scored = spec.api == "vllm" and _same_tokens(tokenizer, faculty.tokenizer(teacher))
    ledger: Ledger[Completion] = Ledger(runs, faculty.identity(teacher), Completion)

    def speak(api: Api) -> tuple[Writer, ServedModel | None]:
        model = faculty.hosted(teacher, api)
        return _Bought(model, ledger), model if scored and isinstance(model, ServedModel) else None

    return Examinee(name, address(teacher, spec), speak, None)


class _Bought:
    """A teacher that is asked only for what the ledger does not have."""

    def __init__(self, teacher: Teacher, ledger: Ledger[Completion]) -> None:
        self._teacher, self._ledger = teacher, ledger

    async def write(self, request: Request) -> Completion:
        # The id that all models share does not name the sampling, which what is kept for other runs has to.
        kept = replace(request, id=key_of("evaluate", request.id, request.sampling.model_dump(mode="json")))
        asking: Asking[Completion] = Asking(self._teacher, self._ledger)
        await asking.all([kept])
        if kept.id in asking.failed:
            raise asking.failed[kept.id]
        return asking.said[kept.id]


def _same_tokens(one: ChatTokenizer, other: ChatTokenizer) -> bool:
    return one.vocabulary() == other.vocabulary()
