"""What a judge's verdicts come to: wins, losses and ties, and the shares of them with intervals.

Knows that a pair is judged in both orders: where both name the same answer it has won or lost, where they differ it is
a tie; a pair of which one order has no verdict is unscored, and counts for nobody. Does not know models.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from pipelines.core.config import Bootstrap
from pipelines.core.records import Said, Score, Side, Verdict
from pipelines.judge.pairwise import ORDERS
from serving.metrics import Interval, ratio_interval

Result = Literal["win", "loss", "tie", "unscored"]  # of the model, against the baseline
Place = Literal["first", "second", "neither"]
WORTH: dict[Result, float] = {"win": 1.0, "tie": 0.5, "loss": 0.0}
_PLACES: dict[str, Place] = {"A": "first", "B": "second"}


@dataclass(frozen=True)
class Contest:
    """One pair in both orders."""

    question_id: str
    category: str
    result: Result
    place: Place  # which place won in both orders, whoever stood there
    agreed: bool  # whether both orders say the same of the answers


def contests(verdicts: Iterable[Verdict]) -> list[Contest]:
    """Each pair that was asked about, by question: in one order for all models, so that the same are drawn again."""
    groups: dict[tuple[str, int], list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault((verdict.question_id, verdict.repeat), []).append(verdict)
    return [_contest(groups[key]) for key in sorted(groups)]


def winner(verdict: Verdict) -> str:
    """ "model", "baseline", "tie" or "unscored"."""
    if verdict.says not in _PLACES:
        return verdict.says
    return ORDERS[(ORDERS.index(verdict.first) + "AB".index(verdict.says)) % 2]


def said_by(winner: str, first: Side) -> Said:
    """What a judge says who finds this one better, with that side's answers as A: the other way round."""
    told: dict[str, Said] = {"tie": "tie", "unscored": "unscored", first: "A"}
    return told.get(winner, "B")


def _contest(verdicts: Sequence[Verdict]) -> Contest:
    winners, says = {winner(v) for v in verdicts}, {v.says for v in verdicts}
    result: Result = "tie"
    if "unscored" in winners or len(verdicts) < len(ORDERS):
        result = "unscored"
    elif winners == {"model"}:
        result = "win"
    elif winners == {"baseline"}:
        result = "loss"
    place: Place = _PLACES.get(min(says), "neither") if len(says) == 1 and result != "unscored" else "neither"
    return Contest(verdicts[0].question_id, verdicts[0].category, result, place, len(winners) == 1)


def scored(contests: Iterable[Contest]) -> list[Contest]:
    return [each for each in contests if each.result != "unscored"]


def win_rate(contests: Iterable[Contest], config: Bootstrap, seed: int) -> Interval | None:
    """(wins + ties / 2) / pairs that are scored, resampling questions; None where none is."""
    worth = [WORTH[each.result] for each in scored(contests)]
    return _interval(worth, [1.0] * len(worth), config, seed)


def place_shares(contests: Iterable[Contest]) -> dict[Place, float]:
    """The share of scored pairs that each place won in both orders."""
    found = [each.place for each in scored(contests)]
    return {place: fmean(p == place for p in found) if found else 0.0 for place in ("first", "second")}


def disagreed(contests: Iterable[Contest]) -> float:
    """The share of scored pairs that are ties because the two orders say different things."""
    return fmean(not each.agreed for each in found) if (found := scored(contests)) else 0.0


def mean_score(scores: Iterable[Score], config: Bootstrap, seed: int) -> Interval | None:
    """The mean over answers that have a number, resampling questions with all their turns; None where none has."""
    by_question: dict[str, list[float]] = {}
    for score in scores:
        if score.value:
            by_question.setdefault(score.question_id, []).append(score.value)
    values = [by_question[id] for id in sorted(by_question)]
    return _interval([sum(each) for each in values], [float(len(each)) for each in values], config, seed)


def _interval(sums: Sequence[float], counts: Sequence[float], config: Bootstrap, seed: int) -> Interval | None:
    return ratio_interval(sums, counts, config.confidence, config.resamples, seed) if sums else None
