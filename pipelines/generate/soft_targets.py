"""Teacher signals: top-k distributions at the very tokens a student will be trained on, captured once.

Knows how an example becomes a score request. The key holds the example's id and its token ids, so a signal can
never meet other tokens than those it was made for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.core.records import SoftTargets, TrainExample
from pipelines.generate.teacher import ScoreRequest, TeacherId, score_request


@dataclass(frozen=True)
class SoftTargetWork:
    """The row-wise work of `soft_targets` (see work.Work)."""

    teacher: TeacherId
    k: int
    sources: frozenset[str] | None = None  # those of a recipe's sources that this teacher is for; None: all
    reads = TrainExample
    writes = SoftTargets
    bought = SoftTargets

    def requests(self, row: TrainExample) -> list[ScoreRequest]:
        if self.sources is not None and row.source not in self.sources:
            return []
        positions = [t for t, weight in enumerate(row.weights) if weight > 0 and t > 0]
        return [score_request(self.teacher, row.id, row.token_ids, positions, self.k)]

    def settle(self, row: TrainExample, said: Sequence[SoftTargets | None]) -> list[SoftTargets]:
        return [signal for signal in said if signal is not None]
