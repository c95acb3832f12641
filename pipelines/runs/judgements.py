"""Some pairs of a comparison to read: a few that a model won and a few that it lost, with all that was said.

Knows verdicts, numbers and answers as values. Those come first in which the numbers of the two answers, where there are
any, lie furthest apart.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from pipelines.core.records import Score, Talk, Verdict
from pipelines.judge import win_rates
from pipelines.report.judged import Judgement

OF_EACH = 3


def of(
    verdicts: Sequence[Verdict],
    scores: Sequence[Score],
    talks: Mapping[str, Mapping[str, Talk]],
    model: str,
    baseline: str | None,
) -> list[Judgement]:
    """Wins, then losses. `talks` are by model and question."""
    contests = win_rates.contests(verdicts)
    found: list[Judgement] = []
    for result in ("win", "loss"):
        ids = [each.question_id for each in contests if each.result == result]
        assert baseline is not None or not ids, "there are no pairs without a baseline"
        apart = {id: abs(_mean(scores, model, id) - _mean(scores, baseline, id)) for id in ids}
        for id in sorted(ids, key=lambda each: -apart[each])[:OF_EACH]:
            found.append(_judgement(result, [v for v in verdicts if v.question_id == id], talks, id))
    return found


def _mean(scores: Sequence[Score], model: str | None, question: str) -> float:
    given = [s.value for s in scores if s.value and s.model == model and s.question_id == question]
    return fmean(given) if given else 0.0


def _judgement(result: str, said: Sequence[Verdict], talks: Mapping[str, Mapping[str, Talk]], id: str) -> Judgement:
    first = said[0]
    mine, other = talks[first.model][id], talks[first.baseline][id]
    return Judgement(
        "win" if result == "win" else "loss", first.model, first.baseline, first.category, "\n\n".join(mine.turns),
        "\n\n".join(filter(None, mine.references)), mine.text, other.text,
        tuple(verdict.text for verdict in said if verdict.text), first.id,
    )  # fmt: skip
