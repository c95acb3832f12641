"""Rows to be probed, as the row-wise stages ask: a request for each figure that is wanted of a row.

Knows requests and records. Does not know how an influence is measured, or where: `prober.py` does.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipelines.core.hashing import key_of
from pipelines.core.records import Influence, InfluenceMethod, TrainExample
from pipelines.generate.teacher import RequestFailed, TeacherId

STAGE = "influence"


class Unfit(RequestFailed):
    """No step can be made of this row. Its `reason` is what its Dropped row says."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason

    def __reduce__(self) -> tuple[type["Unfit"], tuple[str, str]]:
        return type(self), (self.reason, str(self))


class Measuring(Protocol):
    """Whoever knows a student and a reference set. Any number of calls may be under way at once."""

    async def influence(self, request: "InfluenceRequest") -> Influence:
        """Raises Unfit where the row is to blame."""
        ...


@dataclass(frozen=True, slots=True)
class InfluenceRequest:
    """How much does a step on this example help? `id` is the Influence's id (see teacher.Measured)."""

    id: str
    example: TrainExample
    method: InfluenceMethod

    @property
    def tokens(self) -> int:
        return self.example.size

    def put_to(self, probe: Measuring) -> Awaitable[Influence]:
        return probe.influence(self)


def influence_request(probe: str, example: TrainExample, method: InfluenceMethod) -> InfluenceRequest:
    """`probe` is the digest of the student, the reference set and how its loss is divided."""
    return InfluenceRequest(key_of(STAGE, probe, method, example.id), example, method)


@dataclass(frozen=True)
class InfluenceWork:
    """The row-wise work of `influence` (see work.Work). Some rows are measured exactly, beside what is estimated."""

    probe: TeacherId
    method: InfluenceMethod
    checked: frozenset[str] = frozenset()  # ids of those rows
    reads = TrainExample
    writes = Influence
    bought = Influence

    def requests(self, row: TrainExample) -> list[InfluenceRequest]:
        methods: dict[InfluenceMethod, None] = {self.method: None}
        if row.id in self.checked:
            methods["exact"] = None
        return [influence_request(self.probe.digest, row, method) for method in methods]

    def settle(self, row: TrainExample, said: Sequence[Influence | None]) -> list[Influence]:
        return [found for found in said if found is not None]
