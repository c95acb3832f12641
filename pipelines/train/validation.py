"""Examples that a student is not trained on but looked at by, and when it has learnt enough.

Knows lineages and losses. Does not know models. Every value is the same on all ranks, so that they decide alike.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.core.config import Validation
from pipelines.core.records import TrainExample


def split(
    examples: Sequence[TrainExample], config: Validation | None, seed: int
) -> tuple[list[TrainExample], list[TrainExample]]:
    """(to train on, to validate on): whole lineages, drawn by the seed until they have `share` of the examples.

    AssertionError where nothing would be left to train on.
    """
    if config is None:
        return list(examples), []
    lineages: dict[str, int] = {}
    for example in examples:
        lineages[_lineage(example)] = lineages.get(_lineage(example), 0) + 1
    drawn = sorted(lineages)
    random.Random(f"validation {seed}").shuffle(drawn)
    wanted, apart, rows = config.share * len(examples), set(), 0
    for lineage in drawn[:-1]:  # one stays, whatever its size
        if rows >= wanted:
            break
        apart.add(lineage)
        rows += lineages[lineage]
    return (
        [e for e in examples if _lineage(e) not in apart],
        [e for e in examples if _lineage(e) in apart],
    )


def _lineage(example: TrainExample) -> str:
    return example.lineage or example.instruction_id or example.id


@dataclass
class Best:
    """The best loss so far, and how many looks have not been better since. Kept in checkpoints."""

    loss: float = float("inf")
    step: int = 0
    worse: int = 0

    def look(self, loss: float, step: int) -> bool:
        """Note a loss; whether it is the best."""
        if loss < self.loss:
            self.loss, self.step, self.worse = loss, step, 0
            return True
        self.worse += 1
        return False

    def is_enough(self, patience: int | None) -> bool:
        """Whether so many looks in a row were no better."""
        return patience is not None and self.worse >= patience
