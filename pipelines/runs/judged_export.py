"""What leaves by `tutelage export` of a comparison: every model's answers as conversations, each with its numbers.

Knows which stages hold them. How formats look is in `pipelines.formats`.
"""

from collections.abc import Iterator, Mapping

from pipelines.core.errors import UserError
from pipelines.core.hashing import canonical
from pipelines.core.parts import rows_of
from pipelines.core.recipe import Compare
from pipelines.core.records import Conversation, Score, Talk
from pipelines.core.stage import Done
from pipelines.formats.card import Provenance, Step
from pipelines.recipes.judging import SINGLE
from pipelines.runs import who
from pipelines.runs.judged import last_talks


def taken(recipe: Compare, run: str, done: Mapping[str, Done]) -> tuple[Provenance, int, Iterator[Conversation]]:
    """The card's facts, how many rows there are, and the rows. UserError where a model has not answered."""
    if recipe.judge is None:
        raise UserError(f"{run} has benchmarks alone: nobody was asked for answers, so there are none to export")
    models = {model: last_talks(done, model) for model in recipe.answers.models}
    if missing := [model for model, stage in models.items() if stage is None]:
        raise UserError(f"{run} has no finished answers of {', '.join(missing)} yet; `tutelage run` makes them")
    stages = {model: stage for model, stage in models.items() if stage is not None}
    provenance = Provenance(
        name=run,
        teachers=[who.teacher(recipe, model) for model in stages],
        made=[
            f"Recipe `{recipe.name}` (method {recipe.method}, seed {recipe.seed}), run `{run}`.",
            f"Questions: `{recipe.questions.path}`, each answered by every model.",
            f"Numbers from 1 to 10 are by `{recipe.the_judge.teacher}`, where `scores` has any.",
        ],
        filters=[],
        steps=[Step(f"answers of {model}", d.manifest["rows"], d.manifest["dropped"]) for model, d in stages.items()],
        lineage="`extra` holds `model`, `question_id`, `talk_id` and `scores`, a number for each turn that has one. "
        f"`tutelage trace TALK_ID` follows a row of `{run}` back.",
        written_with=who.program(),
    )
    rows = sum(stage.manifest["rows"] for stage in stages.values())
    return provenance, rows, (row for model, stage in stages.items() for row in _conversations(model, stage, done))


def _conversations(model: str, stage: Done, done: Mapping[str, Done]) -> Iterator[Conversation]:
    judged = done.get(f"{SINGLE}{model}")
    scores: dict[str, dict[str, float]] = {}
    for score in rows_of(judged.folder, Score) if judged else ():
        if score.value:
            scores.setdefault(score.question_id, {})[str(score.turn)] = score.value
    for talk in rows_of(stage.folder, Talk):
        turns = tuple(text for pair in zip(talk.turns, talk.said, strict=True) for text in pair)
        beside = {
            "model": model,
            "question_id": talk.question_id,
            "talk_id": talk.id,
            "scores": scores.get(talk.question_id, {}),
        }
        yield Conversation(Conversation.make_id("", turns, ""), "", turns, "", canonical(beside))
