"""What a report tells of benchmarks, as plain values. Maker: `runs.benchmarked`. Readers: page, Markdown, terminal."""

from dataclasses import dataclass

from pipelines.report.interval import Difference, Interval


@dataclass(frozen=True, slots=True)
class Measured:
    """One model by one metric."""

    model: str
    value: float
    stderr: float | None  # this and the interval: None where the value is not the mean over documents
    interval: Interval | None
    documents: int
    gained: Difference | None  # the mean minus the baseline's, over the same documents; None: nothing to compare


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric of a benchmark, by model."""

    benchmark: str
    metric: str  # and how replies were read, where a task has several ways
    higher_is_better: bool | None  # None: the task does not say
    models: tuple[Measured, ...]

    @property
    def name(self) -> str:
        return f"{self.benchmark} {self.metric}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one check saw of a model's endpoint."""

    model: str
    check: str
    saw: str


@dataclass(frozen=True, slots=True)
class Benchmarked:
    """Models on benchmarks, as far as they have come."""

    baseline: str  # "" where models are not compared
    harness: str  # its version; "" before the first benchmark is done
    confidence: float
    measures: tuple[Measure, ...] = ()
    seen: tuple[Seen, ...] = ()
