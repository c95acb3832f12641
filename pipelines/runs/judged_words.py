"""A comparison in words: the figures on top of its report, the table in the terminal, and what the figures do not say.

Knows the report's values only.
"""

from pipelines.core.recipe import Compare
from pipelines.report.data import Headline
from pipelines.report.interval import Interval
from pipelines.report.judged import Judged, Pairs


def headline(judged: Judged | None) -> tuple[Headline, ...]:
    """The best challenger, how many answers were judged, and how far the judge can be believed."""
    if judged is None:
        return ()
    cards = []
    if best := _best(judged):
        model, rate = best
        detail = f"{model} against {judged.baseline}, ties counted half; {_words(rate)}"
        cards.append(Headline("best win rate", f"{rate.mean:.0%}", detail))
    if judged.models:
        answers = sum(each.spent.answers for each in judged.models)
        told = f"by {len(judged.models)} models to {judged.questions:,} questions"
        cards.append(Headline("answers", f"{answers:,}", told))
    if judged.checks:
        worst = min(judged.checks, key=lambda check: check.agreement)
        told = f"of {judged.judge}'s verdicts on pairs of which it is plain which answer is better"
        cards.append(Headline("right in the self-check", f"{worst.agreement:.0%}", told))
    return tuple(cards)


def table(judged: Judged) -> list[str]:
    """The lines that end a run in the terminal."""
    wide = max(16, *(len(each.model) + 2 for each in judged.models)) if judged.models else 16
    columns = ("win rate", "length-controlled", "1 to 10", "unscored", "characters")
    lines = [f"  {'':<{wide}}" + "".join(f"{column:>22}" for column in columns)]
    for each in judged.models:
        pairs, numbers = each.pairs, each.numbers
        score = f"{i.mean:.2f} ({i.low:.2f}-{i.high:.2f})" if numbers and (i := numbers.mean) else "-"
        unscored = (pairs.unscored if pairs else 0) + (numbers.unscored if numbers else 0)
        rate, even = (_words(i) if i else "-" for i in _rates(pairs))
        name = f"{each.model} *" if each.is_baseline else each.model
        cells = (rate, even, score, f"{unscored:,}", f"{each.lengths[2]:,.0f}")
        lines.append(f"  {name:<{wide}}" + "".join(f"{cell:>22}" for cell in cells))
    return [*lines, f"  * the baseline; judged by {judged.judge}"] if judged.baseline else lines


def notes(recipe: Compare, judged: Judged) -> list[str]:
    """What the figures say, and what they do not."""
    told = [f"Intervals are {judged.confidence:.0%} bootstrap intervals over questions."]
    if recipe.questions.path == "builtin":
        told.append("The questions are tutelage's own, and few: figures on them compare with nobody else's.")
    if recipe.the_judge.teacher in recipe.answers.models:
        told.append(f"{recipe.the_judge.teacher} judges its own answers too, and judges tend to like their own words.")
    if judged.baseline:
        told += _of_pairs(recipe, judged)
    told += _saved(judged)
    if recipe.scored:
        told.append("Numbers from 1 to 10 are the judge's own scale; they compare only within this report.")
    if judged.way == "likelihood":
        told.append(
            "The judge was asked nothing: it prefers what it finds likelier per token, which says how far an answer is "
            "like its own words, and says of its worth only what the self-check shows."
        )
    return told


def _of_pairs(recipe: Compare, judged: Judged) -> list[str]:
    told = [
        "Each pair is judged in both orders; where these differ it is a tie. An unscored pair counts for nobody.",
        "The length-controlled win rate is ours: a logistic regression on the model and on tanh of the difference in "
        "characters over its standard deviation"
        + (", and on the difficulties that were given" if recipe.the_judge.difficulty else "")
        + ", with the length term at 0 (after arXiv 2404.04475). It is not a leaderboard's figure.",
    ]
    if (n := len(recipe.challengers)) > 1:
        miss = 1 - judged.confidence
        told.append(
            f"{n} models are compared with {judged.baseline}. Each interval holds by itself: that at least one of the "
            f"{n} misses may happen in up to {min(1.0, n * miss):.0%} of such comparisons, and all hold together at "
            f"{judged.confidence:.0%} only where each is read at {1 - miss / n:.1%}."
        )
    return told


def _saved(judged: Judged) -> list[str]:
    """What each model takes, as shares of what the baseline does."""
    baseline = next((each.spent for each in judged.models if each.is_baseline), None)
    if baseline is None:
        return []
    told = []
    for each in judged.models:
        mine = each.spent
        shares = [
            f"{own / theirs:.2f} of its {what}"
            for what, own, theirs in (
                ("parameters", mine.parameters, baseline.parameters),
                ("seconds an answer", mine.seconds_per_answer, baseline.seconds_per_answer),
                ("cost", mine.cost_per_thousand, baseline.cost_per_thousand),
            )
            if own is not None and theirs
        ]
        if shares and not each.is_baseline:
            told.append(f"Beside {judged.baseline}, {each.model} has or takes {', '.join(shares)}.")
    return told


def _best(judged: Judged) -> tuple[str, Interval] | None:
    rates = [(each.model, each.pairs.win_rate) for each in judged.models if each.pairs and each.pairs.win_rate]
    return max(rates, key=lambda pair: pair[1].mean, default=None)


def _rates(pairs: Pairs | None) -> tuple[Interval | None, Interval | None]:
    return (pairs.win_rate, pairs.length_controlled) if pairs else (None, None)


def _words(interval: Interval) -> str:
    return f"{interval.mean:.1%} ({interval.low:.1%}-{interval.high:.1%})"
