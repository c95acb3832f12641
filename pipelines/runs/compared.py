"""Students of each teacher on the same held-out rows: their losses, and what tuning the teacher changed of them.

Knows the rows of `held_out_loss`, by the names that students have there (`recipes/montessori.py`). Of several students
of a teacher each row's mean stands for all, before rows are resampled. Measures nothing anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

from pipelines.core.parts import rows_of
from pipelines.core.recipe import Montessori
from pipelines.core.records import HeldOutLoss
from pipelines.core.stage import Done
from pipelines.recipes.montessori import model_name
from pipelines.report import data, words
from pipelines.train import held_out_loss
from serving.accuracy import SHOWS
from serving.metrics import ratio_interval

Nats = Mapping[str, float]  # by held-out row


@dataclass(frozen=True)
class _Measured:
    """Nats of every model by held-out row, and the tokens of those rows."""

    by_model: Mapping[str, Nats]
    tokens: Mapping[str, int]

    @classmethod
    def of(cls, stage: Done) -> "_Measured":
        by_model: dict[str, dict[str, float]] = {}
        tokens: dict[str, int] = {}
        for row in rows_of(stage.folder, HeldOutLoss):
            by_model.setdefault(row.model, {})[row.example_id] = row.nll
            tokens[row.example_id] = row.tokens
        return cls(by_model, tokens)

    def mean(self, recipe: Montessori, rounds: int) -> Nats:
        """Over the students of the teacher after so many rounds."""
        students = [self.by_model[model_name(rounds, n)] for n in range(1, recipe.evaluate.students + 1)]
        return {row: fmean(each[row] for each in students) for row in self.tokens}

    def interval(self, recipe: Montessori, nats: Nats) -> data.Interval:
        """Nats per token, resampling rows."""
        config, sums, counts = recipe.evaluate, [nats[row] for row in self.tokens], list(self.tokens.values())
        found = ratio_interval(sums, counts, config.confidence, config.resamples, recipe.seed)
        return data.Interval(found.mean, found.low, found.high)


def taught(recipe: Montessori, done: Mapping[str, Done]) -> tuple[data.Taught, ...]:
    """One row for each teacher whose students' examples are drawn; losses come with the run's last stage."""
    measured = _Measured.of(done[held_out_loss.STAGE]) if held_out_loss.STAGE in done else None
    return tuple(
        _taught(recipe, rounds, budget, measured)
        for rounds in range(recipe.rounds.count + 1)
        if (budget := done.get(f"budget_{rounds}"))
    )


def scores(recipe: Montessori, done: Mapping[str, Done]) -> tuple[data.ModelScore, ...]:
    """The untrained student, and the students of each teacher as one."""
    if held_out_loss.STAGE not in done:
        return ()
    stage = done[held_out_loss.STAGE]
    measured, sizes = _Measured.of(stage), stage.manifest["facts"]["parameters"]
    told = {"student before": (measured.by_model[held_out_loss.BEFORE], sizes[held_out_loss.BEFORE])}
    for rounds in range(recipe.rounds.count + 1):
        name = f"student of {_teacher(recipe, rounds)}"
        told[name] = measured.mean(recipe, rounds), sizes[model_name(rounds, 1)]
    rows, tokens = len(measured.tokens), sum(measured.tokens.values())
    return tuple(
        data.ModelScore(name, measured.interval(recipe, nats), None, None, size, rows, tokens)
        for name, (nats, size) in told.items()
    )


def headline(taught: Sequence[data.Taught], scores: Sequence[data.ModelScore]) -> tuple[data.Headline, ...]:
    """What tuning brought in the end, what students were trained on, and how big they are; () where none is taught."""
    if not taught:
        return ()
    first, last = taught[0], taught[-1]
    cards = [data.Headline("a student's rows", f"{last.rows:,}", f"{last.tokens:,} tokens, of {last.teacher}")]
    if last.gained:
        told = f"nats per held-out token, students of {last.teacher} less those of {first.teacher}; lower is better"
        cards.insert(0, data.Headline("by tuning the teacher", f"{last.gained.interval.mean:+.4f}", told))
    if scores and (size := scores[-1].parameters):
        cards.append(data.Headline("student's size", f"{size / 1e6:,.0f} M", "parameters"))
    return tuple(cards)


def notes(recipe: Montessori, taught: Sequence[data.Taught]) -> list[str]:
    """What the figures say, and what they do not."""
    students = recipe.evaluate.students
    of_several = f"Of each teacher's {students} students a row's mean loss was taken first."
    of_one = "One student of each teacher: what another order of its rows would change is not in the intervals."
    met = "; rows that influence is measured on may be among them" if recipe.rounds.probe.evaluated_too else ""
    return [
        *words.gains(taught),
        of_several if students > 1 else of_one,
        f"Measured on the answers that the held-out seeds came with, which no teacher was shown{met}.",
        f"Intervals are {recipe.evaluate.confidence:.0%} bootstrap intervals over rows.",
    ]


def _taught(recipe: Montessori, rounds: int, budget: Done, measured: _Measured | None) -> data.Taught:
    told = budget.manifest
    size = told["rows"], told["facts"]["tokens"]
    teacher, students = _teacher(recipe, rounds), recipe.evaluate.students
    if measured is None:
        return data.Taught(teacher, students, *size)
    nats = measured.mean(recipe, rounds)
    gained = _gained(recipe, measured, nats) if rounds else None
    return data.Taught(teacher, students, *size, measured.interval(recipe, nats), gained)


def _gained(recipe: Montessori, measured: _Measured, nats: Nats) -> data.Difference:
    """These losses minus those of the untuned teacher's students, row by row."""
    untuned = measured.mean(recipe, 0)
    apart = measured.interval(recipe, {row: nats[row] - untuned[row] for row in nats})
    errors = 2 * NormalDist().inv_cdf((1 + recipe.evaluate.confidence) / 2)  # standard errors that an interval is wide
    return data.Difference(apart, SHOWS * (apart.high - apart.low) / errors, len(measured.tokens))


def _teacher(recipe: Montessori, rounds: int) -> str:
    return f"{recipe.teacher} after round {rounds}" if rounds else recipe.teacher
