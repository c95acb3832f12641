"""The report as plain values. Maker: the recipes' report step. Readers: `page`, `markdown`, `charts`.

Knows neither where the numbers come from nor how they are drawn. A run that stopped half way leaves the later
parts empty: every field that a stage fills has an empty default.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

from pipelines.report.benchmarked import Benchmarked
from pipelines.report.interval import QUANTILES as QUANTILES
from pipelines.report.interval import Difference as Difference
from pipelines.report.interval import Interval as Interval
from pipelines.report.judged import Judged

RunStatus = Literal["done", "stopped", "failed", "running"]
StageStatus = Literal["done", "cached", "partial", "pending", "failed"]


@dataclass(frozen=True, slots=True)
class Headline:
    """One figure of the top row, already in words: ("Rows trained on", "1,204", "of 1,530 generated")."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage in the ledger. `start_up_seconds` is the part of `seconds` before the first row."""

    name: str
    key: str
    status: StageStatus
    rows: int
    dropped: int
    prompt_tokens: int
    output_tokens: int
    seconds: float
    start_up_seconds: float


@dataclass(frozen=True, slots=True)
class Engines:
    """Seconds of a pool's engines: busy with a request or more, or up with none. Those of starting are apart."""

    starting: float
    busy: float
    idle: float
    busy_per_row: float | None  # as in TeacherRow
    idle_per_row: float | None


@dataclass(frozen=True, slots=True)
class TeacherRow:
    """What one stage asked of its teacher. `request_seconds` add up over requests, many of which overlap.

    What a row took is per row that was kept, and None where none was; costs are in the currency of the recipe's
    price, and None where it has none. `engines` is None where no pool was used.
    """

    teacher: str
    stage: str
    kept: int
    prompt_tokens: int
    output_tokens: int
    retries: int
    request_seconds: float
    tokens_per_row: float | None
    seconds_per_row: float | None
    retries_per_row: float | None
    cost: float | None
    cost_per_row: float | None
    engines: Engines | None = None


@dataclass(frozen=True, slots=True)
class FunnelRow:
    """What went on and what did not at one step of the data; kept + sum(dropped) came in."""

    label: str
    kept: int
    dropped: Mapping[str, int]  # reason -> rows


@dataclass(frozen=True, slots=True)
class LossPoint:
    """One optimizer step. `components` are mean losses per token, in nats; `tokens` counts from the start."""

    step: int
    tokens: int
    components: Mapping[str, float]
    learning_rate: float


@dataclass(frozen=True, slots=True)
class RoundRow:
    """A round in which the student answered tasks itself and learnt what its teacher says of its own tokens."""

    round: int
    answers: int
    tokens_per_answer: float
    cut_off: float  # share of the answers that hit max_tokens
    repeated_3grams: float  # as in ModelScore
    kd: float | None  # the divergence from the teacher on them, in nats per token, mean over the round's steps


@dataclass(frozen=True, slots=True)
class ProbedRow:
    """A row at one end of its round's influences, and where it comes from."""

    id: str  # of the influence, which `tutelage trace` follows back
    influence: float
    instruction: str
    input: str
    answer: str
    instruction_id: str
    parents: tuple[str, ...]  # ids of the tasks that its teacher was shown
    teacher: str  # its name, and what it is: the digest's first letters
    sampling: str  # of both texts, in words


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """Estimates of influence, compared with what was measured of the same rows."""

    rows: int
    spearman: float
    same_sign: float  # share of the rows


@dataclass(frozen=True, slots=True)
class Preferred:
    """The preferences that a round's influences made."""

    pairs: int
    mean_margin: float  # of influence, in nats
    prompts: int  # with a row that was probed
    pairs_per_prompt: Mapping[int, int]  # so many pairs -> prompts; those without any are not there


@dataclass(frozen=True, slots=True)
class InfluenceRound:
    """A round in which rows were probed and their teacher was tuned, as far as it has come. Influences are in nats."""

    round: int  # from 1
    rows: int
    helped: float  # share of the rows with an influence above 0
    quantiles: tuple[float, ...]  # at QUANTILES
    by_loss: float  # rank correlation with the rows' own losses, which are cheaper to choose by
    best: tuple[ProbedRow, ...]
    worst: tuple[ProbedRow, ...]
    self_check: SelfCheck | None = None  # None: every row was measured, none was estimated
    preferred: Preferred | None = None
    dpo: tuple[float, float] | None = None  # loss of a preference when the tuning began and when it ended, in nats


@dataclass(frozen=True, slots=True)
class Taught:
    """The students of one teacher, each trained on the same of its rows. Losses are means over its students."""

    teacher: str
    students: int
    rows: int  # of one student
    tokens: int
    loss: Interval | None = None  # nats per held-out token
    gained: Difference | None = None  # that, minus the loss of the untuned teacher's students


@dataclass(frozen=True, slots=True)
class ModelScore:
    """One model on the held-out set. `nll`: nats per reference token; None: not measured."""

    model: str  # "student before", "student", "teacher", and on which source of data where there are several
    nll: Interval | None
    rouge_l: Interval | None
    repeated_3grams: float | None  # share of an answer's 3-grams that stood earlier in it, mean over answers
    parameters: int | None  # None: not known, as behind an API
    rows: int
    tokens: int  # of the references, scored


@dataclass(frozen=True, slots=True)
class ChoiceScore:
    """One model on the multiple-choice questions that are kept for testing: shares of right answers."""

    model: str  # "student before", "student", "majority class"
    written: Interval | None  # the right choice's text, word for word; None: it writes nothing
    likeliest: Interval  # the right choice is the likeliest
    parameters: int | None  # None: it is no model
    questions: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One held-out task with every model's answer, in the order to show them."""

    instruction_id: str
    instruction: str
    input: str  # "" for none
    reference: str  # "" for none
    answers: Mapping[str, str]  # model -> text


@dataclass(frozen=True, slots=True)
class DataRow:
    """A row of the data; `parents` are the instructions its instruction was born of."""

    instruction_id: str
    instruction: str
    input: str
    answer: str
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DroppedRow:
    """A row that went no further, to show why."""

    stage: str
    reason: str
    text: str
    detail: str


@dataclass(frozen=True, slots=True)
class NodesAt:
    """How many nodes the cluster had from this moment on."""

    seconds: float  # since the run's driver came to the cluster
    stage: str  # that was under way; "" between two
    nodes: Mapping[str, int]  # by pool, the same pools in all


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the report shows."""

    recipe: str
    run_key: str
    runs_uri: str
    status: RunStatus
    command: str  # typed again, it repeats the run
    started: str  # ISO 8601, "" where nothing has started
    seconds: float
    recipe_yaml: str
    trains: bool = True  # False: the data is the result, there is no student
    asks: bool = True  # False: nobody is asked for answers to held-out tasks
    headline: tuple[Headline, ...] = ()
    stages: tuple[StageRow, ...] = ()
    teachers: tuple[TeacherRow, ...] = ()
    nodes: tuple[NodesAt, ...] = ()  # empty: the cluster had the same nodes all the time
    funnel: tuple[FunnelRow, ...] = ()
    loss_curve: tuple[LossPoint, ...] = ()
    rounds: tuple[RoundRow, ...] = ()
    influence: tuple[InfluenceRound, ...] = ()
    taught: tuple[Taught, ...] = ()  # the untuned teacher first
    scores: tuple[ModelScore, ...] = ()
    choices: tuple[ChoiceScore, ...] = ()
    judged: Judged | None = None  # None: nobody was judged
    benchmarked: Benchmarked | None = None  # None: nobody was put to benchmarks
    gap_closed: float | None = None  # (before - student) / (before - teacher), of the mean nll
    samples: tuple[Sample, ...] = ()
    examples: tuple[DataRow, ...] = ()
    dropped: tuple[DroppedRow, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def compares(self) -> bool:
        """Whether models are the result, and neither data nor a student."""
        return self.judged is not None or self.benchmarked is not None


def to_json(report: Report) -> dict[str, Any]:
    """The report as plain JSON values; a number that is not finite (a loss that diverged) becomes null."""
    plain: dict[str, Any] = _plain(report)
    return plain


def _plain(value: object) -> Any:
    if is_dataclass(value):
        return {part.name: _plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
