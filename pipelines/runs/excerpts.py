"""Some rows of a run to read in its report: held-out tasks as models answered them, data, what was dropped and why.

Knows which stages hold them. Measures nothing; how they are shown is in `pipelines.report`.
"""

from itertools import islice

from pipelines.core.parts import dropped_of, rows_of
from pipelines.core.recipe import AnyRecipe, Compare, StudentRecipe, TinyLLM, Tune
from pipelines.core.records import Answer, EvalAnswer, Instruction, Question, Rationale, TrainExample
from pipelines.core.stage import Done
from pipelines.report import data
from pipelines.runs import scores as of_models
from pipelines.runs import written
from pipelines.train import given_data
from pipelines.train.choices import source_of

SAMPLES, TRAINED, DROPS_OF_A_REASON = 6, 6, 3


def samples(done: dict[str, Done]) -> tuple[data.Sample, ...]:
    """Some held-out tasks with every model's answer."""
    if "evaluate" not in done:
        return ()
    tasks = {i.id: i for i in rows_of(done["held_out"].folder, Instruction)}
    by_task: dict[str, dict[str, EvalAnswer]] = {}
    for answer in rows_of(done["evaluate"].folder, EvalAnswer):
        by_task.setdefault(answer.instruction_id, {})[of_models.NAMES[answer.model]] = answer
    found = []
    for id, said in sorted(by_task.items())[:SAMPLES]:
        texts = {
            name: said[name].text for name in of_models.NAMES.values() if name in said and said[name].finish_reason
        }
        reference = next(iter(said.values())).reference
        found.append(data.Sample(id, tasks[id].text, tasks[id].input, reference, texts))
    return tuple(found)


def rows(recipe: AnyRecipe, done: dict[str, Done]) -> tuple[data.DataRow, ...]:
    """Some rows of what a run made or trained on."""
    match recipe:
        case Tune():
            return _given(recipe, done)
        case TinyLLM():
            return _explained(done)
        case Compare():
            return ()  # the answers that were judged are shown with their verdicts
        case _:
            return _examples(done, isinstance(recipe, StudentRecipe))


def _explained(done: dict[str, Done]) -> tuple[data.DataRow, ...]:
    """Some questions with what was kept of their rationales."""
    if "rationales" not in done:
        return ()
    questions = {q.id: q for q in rows_of(done["questions"].folder, Question)}
    found = []
    for row in islice(rows_of(done["rationales"].folder, Rationale), TRAINED):
        question = questions[row.question_id]
        found.append(data.DataRow(row.id, source_of("", question), "", f"{row.source}: {row.text}", (question.id,)))
    return tuple(found)


def _given(recipe: Tune, done: dict[str, Done]) -> tuple[data.DataRow, ...]:
    """Some rows of given data that were trained on, of each source; of a conversation its first turns."""
    if "examples" not in done:
        return ()
    shown: dict[str, list[data.DataRow]] = {name: [] for name in recipe.data.sources}
    for example, row in given_data.trained_on(recipe.data, recipe.seed, done["examples"]):
        if len(some := shown[example.source]) < max(1, TRAINED // len(shown)):
            some.append(data.DataRow(example.id, row.turns[0], row.input, row.turns[1], ()))
    return tuple(row for rows in shown.values() for row in rows)


def _examples(done: dict[str, Done], trained: bool) -> tuple[data.DataRow, ...]:
    """Some rows of what the last teacher wrote, as it was trained on or as it is, new instructions first."""
    of = written.last_teacher(done)
    last = f"examples{of}" if trained else "answers"
    if last not in done:
        return ()
    tasks = {i.id: i for i in rows_of(written.tasks(done, of).folder, Instruction)}
    answers = list(rows_of(done[f"answers{of}"].folder, Answer))
    if trained:
        shown_to = done.get(f"budget{of}", done[last])
        trained_on = {e.answer_id for e in rows_of(shown_to.folder, TrainExample)}
        answers = [a for a in answers if a.id in trained_on]
    shown = [(tasks[a.instruction_id], a) for a in answers]
    newest = sorted(shown, key=lambda pair: (pair[0].origin == "seed", pair[1].sample, pair[0].id))[:TRAINED]
    return tuple(data.DataRow(i.id, i.text, i.input, a.text, i.parents) for i, a in newest)


def drops(stage: str, done: Done) -> list[data.DroppedRow]:
    """A few dropped rows of each reason, by the name that their stage has in this run."""
    shown: dict[str, list[data.DroppedRow]] = {}
    for row in dropped_of(done.folder):
        some = shown.setdefault(row.reason, [])
        if len(some) < DROPS_OF_A_REASON:
            some.append(data.DroppedRow(stage, row.reason, row.text, row.detail))
    return [row for rows in shown.values() for row in rows]
