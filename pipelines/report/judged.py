"""What a report tells of a comparison, as plain values. Maker: `runs.judged`. Readers: page, Markdown, charts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipelines.report.interval import Interval


@dataclass(frozen=True, slots=True)
class Pairs:
    """One model against the baseline. Shares are of the pairs that are scored."""

    win_rate: Interval | None  # None: no pair is scored
    length_controlled: Interval | None
    wins: int
    ties: int
    losses: int
    unscored: int  # no verdict in one of the orders, or an answer is missing
    disagreed: float  # ties because the two orders said different things
    first_place: float  # pairs that the first place won in both orders
    second_place: float
    longer: float  # pairs in which the model's answer is the longer one
    longer_won: float | None  # of pairs that were won or lost, those that the longer answer won; None: there are none


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a judge gave one model's answers, from 1 to 10."""

    mean: Interval | None  # None: no answer has a number
    scored: int
    unscored: int  # no number, or the answer is missing


@dataclass(frozen=True, slots=True)
class Spent:
    """What one model's answers took."""

    parameters: int | None  # of the model; None where it is behind another's API
    answers: int
    prompt_tokens: int
    output_tokens: int
    seconds_per_answer: float | None
    cost_per_thousand: float | None  # answers, in the currency of the recipe's price; None where it has none


@dataclass(frozen=True, slots=True)
class JudgedModel:
    """One of the models that were compared."""

    model: str
    is_baseline: bool
    pairs: Pairs | None  # None: it is the baseline, or is not compared with one
    numbers: Numbers | None
    lengths: tuple[float, ...]  # of its answers, in characters, at QUANTILES
    spent: Spent
    win_rates: Mapping[str, tuple[float, int]]  # by category: the rate, and of how many pairs
    means: Mapping[str, tuple[float, int]]  # by category: the mean number, and of how many answers


@dataclass(frozen=True, slots=True)
class Check:
    """What the judge showed on pairs of which it is plain which answer is better. Shares."""

    way: str
    replies: int
    agreement: float
    agreement_when_shorter: float
    unparsable: float
    first_place: float
    second_place: float
    repeated: float | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """One pair with all its texts."""

    result: Literal["win", "loss"]
    model: str
    baseline: str
    category: str
    question: str
    reference: str  # "" for none
    model_said: str
    baseline_said: str
    judge_said: tuple[str, ...]  # in both orders; () where a likelihood judged
    verdict_id: str  # of one of the orders, which `tutelage trace` follows back


@dataclass(frozen=True, slots=True)
class Judged:
    """A comparison, as far as it has come."""

    judge: str
    way: str  # how it judges: "asked", "likelihood"
    baseline: str  # "" where there are no pairs
    questions: int
    confidence: float
    checks: tuple[Check, ...] = ()
    models: tuple[JudgedModel, ...] = ()
    judgements: tuple[Judgement, ...] = ()
