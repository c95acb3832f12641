"""A comparison: the table of models, what the judge showed, where it leans, what was won and lost, what it cost."""

from collections.abc import Callable, Mapping, Sequence

from pipelines.report.interval import QUANTILES
from pipelines.report.judged import Judged, JudgedModel, Judgement, Numbers, Pairs
from pipelines.report.markdown.pieces import escaped, fenced, part, table
from pipelines.report.words import count, figure, interval, percent, share_interval


def judged(found: Judged) -> list[str]:
    """All parts of it; those that are not there yet say so."""
    return [
        *part("Models", _models(found)),
        *part("The judge's self-check", _checks(found)),
        *(part("By category", _categories(found.models)) if found.models else []),
        *(part("Length of answers", _lengths(found.models)) if found.models else []),
        *(part("Won and lost", [_judgement(each) for each in found.judgements]) if found.baseline else []),
        *(part("What answers cost", _spent(found.models)) if found.models else []),
    ]


def _models(found: Judged) -> list[str]:
    against = f"against {found.baseline}, " if found.baseline else ""
    told = f"Judged by {escaped(found.judge)}, {escaped(against)}on {count(found.questions)} questions."
    head = (
        "Model", "Win rate ↑", "Length-controlled ↑", "Won", "Tied", "Lost", "Pairs unscored", "1 to 10 ↑",
        "Answers unscored",
    )  # fmt: skip
    rows = ((_name(each), *_of_pairs(each.pairs), *_of_numbers(each.numbers)) for each in found.models)
    made = table(head, rows, "lrrrrrrrr")
    return [told, *made, *_leanings(found)] if made else []


def _name(each: JudgedModel) -> str:
    return f"{each.model} (the baseline)" if each.is_baseline else each.model


def _of_pairs(pairs: Pairs | None) -> Sequence[str]:
    if pairs is None:
        return ("–",) * 6
    rates = (share_interval(pairs.win_rate), share_interval(pairs.length_controlled))
    return (*rates, *map(count, (pairs.wins, pairs.ties, pairs.losses, pairs.unscored)))


def _of_numbers(numbers: Numbers | None) -> Sequence[str]:
    return (interval(numbers.mean), count(numbers.unscored)) if numbers else ("–", "–")


def _leanings(found: Judged) -> list[str]:
    """Where the judge leans, as the pairs show it."""
    head = ("Model", "First place won both orders", "Second place did", "Orders differ", "Longer", "Longer one won")
    rows = (
        (
            each.model,
            *map(percent, (p.first_place, p.second_place, p.disagreed, p.longer)),
            "–" if p.longer_won is None else percent(p.longer_won),
        )
        for each in found.models
        if (p := each.pairs)
    )
    made = table(head, rows, "lrrrrr")
    told = (
        "Where the judge leans. A place can win both orders only by its place. `Longer` is the share of pairs in which "
        "the model's answer is the longer one; beside it, how many of the pairs that were won or lost the longer "
        "answer won."
    )
    return [told, *made] if made else []


def _checks(found: Judged) -> list[str]:
    head = (
        "Asked for", "Replies", "Right", "Right where that is shorter", "No verdict", "First place won both orders",
        "Second place did", "Alike when asked twice",
    )  # fmt: skip
    rows = (
        (
            c.way,
            count(c.replies),
            *map(percent, (c.agreement, c.agreement_when_shorter, c.unparsable, c.first_place, c.second_place)),
            "–" if c.repeated is None else percent(c.repeated),
        )
        for c in found.checks
    )
    made = table(head, rows, "lrrrrrrr")
    told = "What the judge says of pairs of which it is plain which answer is better, and of the same answer twice."
    return [told, *made] if made else []


def _categories(models: Sequence[JudgedModel]) -> list[str]:
    rates = {each.model: each.win_rates for each in models if each.win_rates}
    means = {each.model: each.means for each in models if each.means}
    return [
        *_by_category("Win rate", rates, percent),
        *_by_category("1 to 10", means, lambda mean: f"{mean:.2f}"),
    ]


def _by_category(
    what: str, of_models: Mapping[str, Mapping[str, tuple[float, int]]], words: Callable[[float], str]
) -> list[str]:
    names = sorted({category for its in of_models.values() for category in its})
    rows = (
        (name, *(f"{words(its[name][0])} of {its[name][1]}" if name in its else "–" for its in of_models.values()))
        for name in names
    )
    return table((what, *of_models), rows, "l" + "r" * len(of_models))


def _lengths(models: Sequence[JudgedModel]) -> list[str]:
    shares = [f"{100 * share:.0f} %" for share in QUANTILES]
    told = "In characters, all turns together; beneath a percentage stands what so many of the answers are below."
    rows = ((each.model, *(count(round(length)) for length in each.lengths)) for each in models)
    return [told, *table(("Model", *shares), rows, "l" + "r" * len(shares))]


def _judgement(each: Judgement) -> str:
    word = "won" if each.result == "win" else "lost"
    said = {
        "question": each.question,
        "a right answer": each.reference,
        each.model: each.model_said,
        each.baseline: each.baseline_said,
    }
    shown = [f"**{escaped(who)}**\n\n{fenced(text)}" for who, text in said.items() if text or who == each.model]
    judge = [f"**the judge**\n\n{fenced(text)}" for text in each.judge_said]
    title = f"### {escaped(each.model)} {word} against {escaped(each.baseline)} ({escaped(each.category)})"
    return "\n\n".join([title, *shown, *judge, fenced(f"tutelage trace {each.verdict_id}", "sh")])


def _spent(models: Sequence[JudgedModel]) -> list[str]:
    head = (
        "Model", "Parameters", "Answers", "Prompt tokens", "Output tokens", "Output tokens each", "Seconds each",
        "Cost of 1,000",
    )  # fmt: skip
    rows = (
        (
            each.model,
            "–" if s.parameters is None else count(s.parameters),
            *map(count, (s.answers, s.prompt_tokens, s.output_tokens)),
            figure(s.output_tokens / s.answers),
            figure(s.seconds_per_answer),
            figure(s.cost_per_thousand),
        )
        for each in models
        if (s := each.spent)
    )
    return table(head, rows, "lrrrrrrr")
