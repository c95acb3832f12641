"""What the report is told of benchmarks: the figures of each model, beside the baseline's.

Knows which stages of `recipes/benchmarking.py` hold what. The formulae are in `pipelines.benchmark.figures`.
"""

from collections.abc import Mapping

from pipelines.benchmark import figures
from pipelines.benchmark.figures import Document, Figure
from pipelines.core.config import Benchmarks
from pipelines.core.parts import rows_of
from pipelines.core.recipe import Compare
from pipelines.core.records import BenchmarkAnswer
from pipelines.core.stage import Done
from pipelines.recipes.benchmarking import BENCHMARK, CHECK, FIGURES
from pipelines.report import benchmarked as data
from pipelines.report.interval import Difference, Interval
from serving.metrics import Interval as Measured

Key = tuple[str, str, str]  # benchmark, metric, filter


def of_run(recipe: Compare, config: Benchmarks, done: Mapping[str, Done]) -> data.Benchmarked:
    """All of it, as far as the run has come."""
    models = {model: _Model(done[name]) for model in recipe.answers.models if (name := f"{BENCHMARK}{model}") in done}
    keys = dict.fromkeys(key for its in models.values() for key in its.figures)
    return data.Benchmarked(
        baseline=config.baseline or "",
        harness=next((its.harness for its in models.values()), ""),
        confidence=config.bootstrap.confidence,
        measures=tuple(_measure(key, models, config, recipe.seed) for key in keys),
        seen=tuple(
            data.Seen(model, finding["check"], finding["saw"])
            for model in recipe.answers.models
            if (name := f"{CHECK}{model}") in done
            for finding in done[name].manifest["facts"]["findings"]
        ),
    )


def steps(done: Mapping[str, Done]) -> list[str]:
    """The finished stages that have documents as rows."""
    return [name for name in done if name.startswith(BENCHMARK) and not name.startswith(CHECK)]


class _Model:
    """What one model's stage has."""

    def __init__(self, done: Done) -> None:
        facts = done.manifest["facts"]
        self.harness: str = facts["harness"]
        told = (Figure(**each) for each in facts[FIGURES])
        self.figures: dict[Key, Figure] = {each.key: each for each in told}
        self._answers = list(rows_of(done.folder, BenchmarkAnswer))

    def by_document(self, key: Key) -> tuple[Figure, Mapping[Document, float]]:
        return self.figures[key], figures.by_document(self._answers, self.figures[key])


def _measure(key: Key, models: Mapping[str, "_Model"], config: Benchmarks, seed: int) -> data.Measure:
    told = {model: its.by_document(key) for model, its in models.items() if key in its.figures}
    benchmark, metric, filter = key
    read = "" if filter == "none" else f" ({filter})"
    better = next(figure.higher_is_better for figure, _ in told.values())
    measured = []
    for model, (figure, each) in told.items():
        baseline = told.get(config.baseline or "") if model != config.baseline else None
        gain = figures.gain((figure, each), baseline, config.bootstrap, seed) if baseline else None
        gained = Difference(_shown(gain.share), gain.smallest, gain.documents) if gain else None
        own = figures.interval(figure, each, config.bootstrap, seed)
        shown = _shown(own) if own else None
        measured.append(data.Measured(model, figure.value, figure.stderr, shown, figure.documents, gained))
    return data.Measure(benchmark, f"{metric}{read}", better, tuple(measured))


def _shown(interval: Measured) -> Interval:
    return Interval(interval.mean, interval.low, interval.high)
