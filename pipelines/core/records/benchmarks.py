"""What models say to benchmarks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely one model finds given tokens after a context. Maker: its endpoint. Reader: `benchmark_MODEL`."""

    id: str
    logprobs: tuple[float, ...]  # of each token behind the context, in nats
    is_greedy: bool  # whether each of them is the likeliest where it stands


@dataclass(frozen=True, slots=True)
class BenchmarkAnswer:
    """What one model said to one document of a benchmark, and what that is worth. Maker: `benchmark_MODEL`.
    Reader: report.

    A document has a row for each of its task's filters, which are ways to read one reply.
    """

    id: str
    benchmark: str  # a task, or a group of tasks that has a figure of its own
    task: str
    document: int  # its place in the task's data
    filter: str
    model: str  # the recipe's name for it
    target: str  # what is right: a text, or the number of a choice
    said: str  # what was answered, likewise; where a single text was scored, its log-probability
    metrics: tuple[str, ...]
    values: tuple[float, ...]  # of each metric, for this document alone

    @property
    def text(self) -> str:
        """By which a row is known."""
        return f"{self.task}, document {self.document}: {self.said}"
