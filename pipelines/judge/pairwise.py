"""Two answers to one question, put to a judge in both orders.

Knows how a Pair becomes requests and replies Verdicts. Does not know who wins: `win_rates.py` puts the two orders
together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import get_args

from pipelines.core.config import Sampling
from pipelines.core.hashing import key_of
from pipelines.core.records import Completion, Dropped, Pair, Said, Side, Talk, Verdict
from pipelines.generate.prompts import Prompt
from pipelines.generate.teacher import Request, TeacherId, write_request
from pipelines.judge import fence
from pipelines.judge.verdicts import preferred

PROMPT = "judge-pairwise"
ORDERS: tuple[Side, ...] = get_args(Side)


@dataclass(frozen=True)
class PairwiseWork:
    """The row-wise work of `verdicts_pairwise_MODEL` and `judge_check` (see work.Work)."""

    stage: str
    sampling: Sampling
    judge: TeacherId
    prompt: Prompt
    repeats: int = 1  # how often each order is asked
    reads = Pair
    writes = Verdict
    bought = Completion

    def requests(self, row: Pair) -> list[Request]:
        return [
            write_request(self.judge, shown(self.prompt, row, first), self.sampling, ordinal=repeat)
            for repeat, first in self._asked()
        ]

    def settle(self, row: Pair, said: Sequence[Completion | None]) -> list[Verdict]:
        return [
            verdict(row, first, preferred(reply.text, reply.finish_reason), repeat, reply.text, reply.id)
            for (repeat, first), reply in zip(self._asked(), said, strict=True)
            if reply is not None
        ]

    def _asked(self) -> list[tuple[int, Side]]:
        return list(product(range(self.repeats), ORDERS))


def shown(prompt: Prompt, pair: Pair, first: Side) -> str:
    """What the judge reads, with this side's answers as A."""
    said = {"model": pair.model_said, "baseline": pair.baseline_said}
    second = next(side for side in ORDERS if side != first)
    turns = [
        {"question": turn, "a": a, "b": b, "reference": reference}
        for turn, a, b, reference in zip(
            pair.turns, said[first], said[second], pair.references or ("",) * len(pair.turns), strict=True
        )
    ]
    return prompt.render(turns=turns, fence=fence.of(*pair.turns, *pair.model_said, *pair.baseline_said))


def verdict(pair: Pair, first: Side, says: Said, repeat: int, text: str, completion_id: str) -> Verdict:
    id = key_of("verdict", pair.id, first, repeat, completion_id)
    return Verdict(
        id, pair.question_id, pair.category, pair.model, pair.baseline, first, says, repeat, text, completion_id,
        pair.talk_ids,
    )  # fmt: skip


def paired(model: Iterable[Talk], baseline: Iterable[Talk], stage: str) -> tuple[list[Pair], list[Dropped]]:
    """The questions that both have answered, in the model's order, and those that one of them has not."""
    theirs = {talk.question_id: talk for talk in baseline}
    pairs: list[Pair] = []
    dropped: list[Dropped] = []
    for mine in model:
        other = theirs.pop(mine.question_id, None)
        if other is None:
            dropped.append(_without(mine, stage, "no answer of the baseline"))
        else:
            pairs.append(_pair(mine, other))
    return pairs, [*dropped, *(_without(talk, stage, "no answer of the model") for talk in theirs.values())]


def _pair(mine: Talk, other: Talk) -> Pair:
    return Pair(
        key_of("pair", mine.id, other.id), mine.question_id, mine.category, mine.model, other.model, mine.turns,
        mine.references, mine.said, other.said, (mine.id, other.id),
    )  # fmt: skip


def _without(talk: Talk, stage: str, reason: str) -> Dropped:
    return Dropped(key_of(stage, talk.question_id), stage, reason, talk.turns[0], talk.model)
