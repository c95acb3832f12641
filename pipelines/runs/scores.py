"""Each model's figures on held-out rows, as the report shows them.

Knows what the evaluating stages leave: answers through endpoints (`evaluate`), losses (`held_out_loss`), or choices
among given answers (`accuracy`). Students of tuned teachers are told of in `compared.py`.
"""

from collections.abc import Sequence

from pipelines.core.parts import rows_of
from pipelines.core.recipe import AnyRecipe, Distil, Montessori, TinyLLM, Tune
from pipelines.core.records import ChoiceAnswer, EvalAnswer, HeldOutLoss, Question
from pipelines.core.stage import Done
from pipelines.report import data
from pipelines.runs import compared
from pipelines.train import held_out_loss
from serving import accuracy, evaluate
from serving.metrics import Interval, gap_closed, ratio_interval

NAMES = {evaluate.BEFORE: "student before", evaluate.AFTER: "student", evaluate.TEACHER: "teacher"}


def scores(done: dict[str, Done], recipe: AnyRecipe) -> tuple[data.ModelScore, ...]:
    """In the order to show them: before, after, teachers; of a source after the other where there are several."""
    if isinstance(recipe, Distil) and evaluate.STAGE in done:
        return _asked(done, recipe)
    if isinstance(recipe, Montessori):
        return compared.scores(recipe, done)
    return _measured(done, recipe) if isinstance(recipe, Tune) and held_out_loss.STAGE in done else ()


def choices(done: dict[str, Done], recipe: AnyRecipe) -> tuple[data.ChoiceScore, ...]:
    """Right answers of student before, student, and whoever always gives the commonest answer."""
    if not isinstance(recipe, TinyLLM) or not (asked := _choosers(done)):
        return ()
    questions = list(rows_of(done["questions"].folder, Question))
    sizes = {name: stage.manifest["facts"]["parameters"] for name, stage in asked.items()}
    return tuple(
        data.ChoiceScore(
            NAMES.get(s.model, "majority class"),
            _interval(s.text) if s.model in NAMES else None,
            _interval(s.likelihood),
            sizes.get(s.model),
            s.rows,
        )
        for s in accuracy.scores(_chosen(done), questions, recipe.evaluate, recipe.seed)
    )


def gained(done: dict[str, Done], recipe: TinyLLM) -> str:
    """What training brought, in words; "" where too little was answered."""
    found = accuracy.gain(_chosen(done), recipe.evaluate, recipe.seed)
    if found is None:
        return ""
    told = [
        f"{way} {each.share.mean:+.1%} ({each.share.low:+.1%} to {each.share.high:+.1%}; {found.rows} questions show "
        f"{each.smallest:.1%} four times in five)"
        for way, each in (("likeliest choice", found.likelihood), ("written", found.text))
    ]
    return f"Accuracy after training minus before, on the same questions: {', '.join(told)}."


def _choosers(done: dict[str, Done]) -> dict[str, Done]:
    """The finished stages in which a model was asked, by the model's name."""
    return {model: done[stage] for model, stage in accuracy.STAGES.items() if stage in done}


def _chosen(done: dict[str, Done]) -> list[ChoiceAnswer]:
    return [row for stage in _choosers(done).values() for row in rows_of(stage.folder, ChoiceAnswer)]


def closed(done: dict[str, Done], recipe: AnyRecipe) -> float | None:
    """Share of the loss gap to the teacher that training closed; None where there is no one teacher to compare with."""
    if evaluate.STAGE in done:
        share: float | None = done[evaluate.STAGE].manifest["facts"]["gap_closed"]
        return share
    if held_out_loss.STAGE not in done or isinstance(recipe, Montessori):
        return None
    before, after, *teachers = done[held_out_loss.STAGE].manifest["facts"]["nats_per_token"].values()
    return gap_closed(before, after, teachers[0]) if len(teachers) == 1 else None


def _asked(done: dict[str, Done], recipe: Distil) -> tuple[data.ModelScore, ...]:
    answers = list(rows_of(done[evaluate.STAGE].folder, EvalAnswer))
    sizes = done[evaluate.STAGE].manifest["facts"]["parameters"]
    return tuple(
        data.ModelScore(
            NAMES[s.model],
            _shown(s.nll),
            _shown(s.rouge_l),
            s.repeated_3grams,
            sizes[s.model],
            s.rows,
            s.tokens,
        )
        for s in evaluate.scores(answers, recipe.evaluate, recipe.seed)
    )


def _measured(done: dict[str, Done], recipe: Tune) -> tuple[data.ModelScore, ...]:
    stage = done[held_out_loss.STAGE]
    rows, sizes = list(rows_of(stage.folder, HeldOutLoss)), stage.manifest["facts"]["parameters"]
    by_source = {name: [r for r in rows if r.source == name] for name in recipe.data.sources}
    return tuple(
        _score(
            [r for r in its if r.model == model], f" on {source}" if len(by_source) > 1 else "", sizes[model], recipe
        )
        for source, its in by_source.items()
        for model in sizes
    )


def _score(rows: Sequence[HeldOutLoss], where: str, parameters: int, recipe: Tune) -> data.ModelScore:
    tokens = [r.tokens for r in rows]
    config = recipe.evaluate
    nll = ratio_interval([r.nll for r in rows], tokens, config.confidence, config.resamples, recipe.seed)
    name = NAMES.get(rows[0].model, rows[0].model)
    return data.ModelScore(name + where, _shown(nll), None, None, parameters, len(rows), sum(tokens))


def _shown(interval: Interval | None) -> data.Interval | None:
    return _interval(interval) if interval else None


def _interval(interval: Interval) -> data.Interval:
    return data.Interval(interval.mean, interval.low, interval.high)
