"""What the report is told of a comparison: the figures of each model, and what the judge showed.

Knows which stages of `recipes/compare.py` hold what. The figures' formulae are in `pipelines.judge`.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from pipelines.core.parts import rows_of
from pipelines.core.recipe import Compare
from pipelines.core.records import OpenQuestion, Score, Talk, Verdict
from pipelines.core.stage import Done
from pipelines.judge import difficulty, length_control, win_rates
from pipelines.judge.win_rates import WORTH, Contest
from pipelines.recipes.compare import PARAMETERS
from pipelines.recipes.judging import CHECK, CHECK_SINGLE, PAIRWISE, SINGLE
from pipelines.report import judged as data
from pipelines.report.interval import QUANTILES, Interval
from pipelines.runs import judgements
from serving.metrics import Interval as Measured

_STEPS = ("questions", "answers_", "second_answers_", "likelihoods_", "verdicts_")
Talks = Mapping[str, Talk]  # by question


def of_run(recipe: Compare, done: Mapping[str, Done]) -> data.Judged:
    """All of it, as far as the run has come."""
    asked = list(rows_of(done["questions"].folder, OpenQuestion)) if "questions" in done else []
    talks = {model: talks_of(done, model) for model in recipe.answers.models}
    verdicts = {model: verdicts_of(done, model) for model in recipe.challengers}
    scores = scores_of(done)
    figures = _Figures(recipe, done, asked, talks)
    return data.Judged(
        judge=recipe.the_judge.teacher,
        way=recipe.the_judge.kind,
        baseline=recipe.the_judge.baseline or "",
        questions=len(asked),
        confidence=recipe.the_judge.bootstrap.confidence,
        checks=tuple(_check(done[name]) for name in (CHECK, CHECK_SINGLE) if name in done),
        models=tuple(
            figures.of(model, verdicts.get(model, []), [s for s in scores if s.model == model])
            for model, its in talks.items()
            if its
        ),
        judgements=tuple(
            each
            for model, its in verdicts.items()
            for each in judgements.of(its, scores, talks, model, recipe.the_judge.baseline)
        ),
    )


def steps(done: Mapping[str, Done]) -> list[str]:
    """The finished stages that questions and answers go through."""
    return [name for name in done if name.startswith(_STEPS)]


def last_talks(done: Mapping[str, Done], model: str) -> Done | None:
    """The stage in which a model has answered every turn; None where it has not yet."""
    if "questions" not in done:
        return None
    turns = done["questions"].manifest["facts"]["two_turns"]
    return done.get(f"second_answers_{model}" if turns else f"answers_{model}")


def talks_of(done: Mapping[str, Done], model: str) -> Talks:
    stage = last_talks(done, model)
    return {talk.question_id: talk for talk in rows_of(stage.folder, Talk)} if stage else {}


def verdicts_of(done: Mapping[str, Done], model: str) -> list[Verdict]:
    stage = done.get(f"{PAIRWISE}{model}")
    return list(rows_of(stage.folder, Verdict)) if stage else []


def scores_of(done: Mapping[str, Done]) -> list[Score]:
    return [row for name, d in done.items() if name.startswith(SINGLE) for row in rows_of(d.folder, Score)]


class _Figures:
    """The figures of one model after another."""

    def __init__(
        self, recipe: Compare, done: Mapping[str, Done], asked: Sequence[OpenQuestion], talks: Mapping[str, Talks]
    ) -> None:
        self._recipe, self._done, self._asked, self._talks = recipe, done, asked, talks
        self._difficulty = difficulty.read(recipe.the_judge.difficulty, asked) if recipe.the_judge.difficulty else {}

    def of(self, model: str, verdicts: Sequence[Verdict], scores: Sequence[Score]) -> data.JudgedModel:
        contests = win_rates.contests(verdicts)
        lengths = [len(talk.text) for talk in self._talks[model].values()]
        return data.JudgedModel(
            model,
            model == self._recipe.the_judge.baseline,
            self._pairs(model, contests) if contests else None,
            self._numbers(scores) if scores else None,
            tuple(float(q) for q in np.quantile(lengths, QUANTILES)),
            self._spent(model),
            _by_category([(c.category, WORTH[c.result]) for c in win_rates.scored(contests)]),
            _by_category([(s.category, s.value) for s in scores if s.value]),
        )

    def _pairs(self, model: str, contests: Sequence[Contest]) -> data.Pairs:
        config, seed, scored = self._recipe.the_judge.bootstrap, self._recipe.seed, win_rates.scored(contests)
        longer = {each.question_id: self._longer(model, each.question_id) for each in scored}
        weighed = [
            length_control.Judged(WORTH[c.result], longer[c.question_id], self._difficulty.get(c.question_id))
            for c in scored
        ]
        decided = [(c.result == "win") == (longer[c.question_id] > 0) for c in scored if _tells(c, longer)]
        places, counts = win_rates.place_shares(contests), [each.result for each in contests]
        return data.Pairs(
            win_rate=shown(win_rates.win_rate(contests, config, seed)),
            length_controlled=shown(length_control.win_rate(weighed, config, seed)),
            wins=counts.count("win"),
            ties=counts.count("tie"),
            losses=counts.count("loss"),
            unscored=len(self._asked) - len(scored),
            disagreed=win_rates.disagreed(contests),
            first_place=places["first"],
            second_place=places["second"],
            longer=fmean(each > 0 for each in longer.values()) if longer else 0.0,
            longer_won=fmean(decided) if decided else None,
        )

    def _longer(self, model: str, question: str) -> int:
        """By how many characters the model's answer is longer than the baseline's."""
        baseline = self._recipe.the_judge.baseline
        assert baseline is not None, "there are no pairs without a baseline"
        return len(self._talks[model][question].text) - len(self._talks[baseline][question].text)

    def _numbers(self, scores: Sequence[Score]) -> data.Numbers:
        config, given = self._recipe.the_judge.bootstrap, [score for score in scores if score.value]
        mean = shown(win_rates.mean_score(given, config, self._recipe.seed))
        return data.Numbers(mean, len(given), sum(len(question.turns) for question in self._asked) - len(given))

    def _spent(self, model: str) -> data.Spent:
        """Over both turns."""
        stages = [self._done[name] for turn in ("", "second_") if (name := f"{turn}answers_{model}") in self._done]
        read, said = (sum(stage.manifest[name] for stage in stages) for name in ("prompt_tokens", "output_tokens"))
        seconds = sum(stage.manifest["facts"]["request_seconds"] for stage in stages)
        answers = sum(len(talk.said) for talk in self._talks[model].values())
        price = self._recipe.teachers[model].price
        cost = 1000 * price.of(read, said) / answers if price else None
        parameters = stages[0].manifest["facts"].get(PARAMETERS)
        return data.Spent(parameters, answers, read, said, seconds / answers, cost)


def _tells(contest: Contest, longer: Mapping[str, int]) -> bool:
    """Whether a pair says anything of whether the longer answer wins."""
    return contest.result in ("win", "loss") and longer[contest.question_id] != 0


def _by_category(values: Sequence[tuple[str, float]]) -> dict[str, tuple[float, int]]:
    """(mean, of how many) by category, in the order of their names."""
    found: dict[str, list[float]] = {}
    for category, value in values:
        found.setdefault(category, []).append(value)
    return {category: (fmean(found[category]), len(found[category])) for category in sorted(found)}


def _check(stage: Done) -> data.Check:
    return data.Check(**stage.manifest["facts"]["checked"])


def shown(interval: Measured | None) -> Interval | None:
    return Interval(interval.mean, interval.low, interval.high) if interval else None
