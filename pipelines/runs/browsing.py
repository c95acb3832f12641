"""What a person can read of a run beside its served models: tasks with all answers to them, and what a judge said.

Knows which finished stages hold them: held-out tasks, multiple-choice questions, or comparisons. Measures nothing.
"""

from collections.abc import Iterator, Mapping, Sequence

from pipelines.core.parts import rows_of
from pipelines.core.recipe import AnyRecipe, Compare, Distil, TinyLLM
from pipelines.core.records import ChoiceAnswer, EvalAnswer, Instruction, OpenQuestion, Question, Score, Talk, Verdict
from pipelines.core.stage import Done
from pipelines.judge import win_rates
from pipelines.runs import judged
from pipelines.train.choices import source_of
from serving import accuracy, evaluate
from serving.shown import Shown, ShownAnswer, ShownJudgement, ShownReply

ABOUT = {
    "distil": "Held-out tasks, as each model answered them in the evaluation.",
    "tinyllm": "Questions that no training saw, as the student answered them before and after.",
    "compare": "Open questions, as each model answered them, and what the judge said.",
}


def of_run(recipe: AnyRecipe, done: Mapping[str, Done]) -> tuple[list[Shown], str]:
    """The rows, and words about them; where there are none, the words say why."""
    match recipe:
        case Distil():
            rows = _held_out(done)
        case TinyLLM():
            rows = _chosen(done)
        case Compare():
            rows = _judged(recipe, done)
        case _:
            return [], f"Runs with method {recipe.method} measure losses and ask no model, so no answers are here."
    return rows, ABOUT[recipe.method] if rows else "This run has asked no model yet; answers come with its evaluation."


def _held_out(done: Mapping[str, Done]) -> list[Shown]:
    if evaluate.STAGE not in done:
        return []
    tasks = {task.id: task for task in rows_of(done["held_out"].folder, Instruction)}
    by_task: dict[str, dict[str, EvalAnswer]] = {}
    for answer in rows_of(done[evaluate.STAGE].folder, EvalAnswer):
        by_task.setdefault(answer.instruction_id, {})[answer.model] = answer
    found = []
    for id, said in sorted(by_task.items()):
        in_order = [said[name] for name in (evaluate.TEACHER, evaluate.BEFORE, evaluate.AFTER) if name in said]
        answers = tuple(ShownAnswer(each.model, each.text, tuple(_measured(each))) for each in in_order)
        task_type = tasks[id].task_type
        category = "" if task_type == "unknown" else task_type
        found.append(Shown(id, category, tasks[id].as_prompt(), in_order[0].reference, answers))
    return found


def _measured(answer: EvalAnswer) -> Iterator[str]:
    if answer.reference_tokens:
        yield f"{answer.nll / answer.reference_tokens:.3f} nats per token of the reference"
    if not answer.finish_reason:
        yield "was asked for no answer"
        return
    yield f"ROUGE-L {answer.rouge_l:.3f}"
    yield f"{answer.repeated_3grams:.0%} repeated"
    if answer.finish_reason == "length":
        yield "cut off"


def _chosen(done: Mapping[str, Done]) -> list[Shown]:
    asked = [done[stage] for stage in accuracy.STAGES.values() if stage in done]
    by_question: dict[str, list[ChoiceAnswer]] = {}
    for answer in (row for stage in asked for row in rows_of(stage.folder, ChoiceAnswer)):
        by_question.setdefault(answer.question_id, []).append(answer)
    return [
        Shown(
            question.id,
            ", ".join(f"{each.model} {_rightly(each.likeliest, each)}" for each in by_question[question.id]),
            source_of("", question),
            question.choices[question.answer],
            tuple(_of_choice(each, question) for each in by_question[question.id]),
        )
        for question in (rows_of(done["questions"].folder, Question) if asked else ())
        if question.id in by_question
    ]


def _of_choice(answer: ChoiceAnswer, question: Question) -> ShownAnswer:
    likeliest = f"likeliest: {question.choices[answer.likeliest]} ({_rightly(answer.likeliest, answer)})"
    return ShownAnswer(answer.model, answer.text, (f"written: {_rightly(answer.written, answer)}", likeliest))


def _rightly(choice: int, answer: ChoiceAnswer) -> str:
    return "right" if choice == answer.answer else "wrong"


def _judged(recipe: Compare, done: Mapping[str, Done]) -> list[Shown]:
    talks = {model: judged.talks_of(done, model) for model in recipe.answers.models}
    thought: dict[str, list[ShownJudgement]] = {}
    for model in recipe.challengers:
        for id, judgement in _pairs(judged.verdicts_of(done, model)):
            thought.setdefault(id, []).append(judgement)
    for id, judgement in _numbers(judged.scores_of(done)):
        thought.setdefault(id, []).append(judgement)
    return [
        Shown(
            question.id,
            question.category,
            question.text,
            "\n\n".join(filter(None, question.references)),
            tuple(_of_talk(its[question.id]) for its in talks.values() if question.id in its),
            tuple(thought.get(question.id, ())),
        )
        for question in (rows_of(done["questions"].folder, OpenQuestion) if any(talks.values()) else ())
    ]


def _of_talk(talk: Talk) -> ShownAnswer:
    return ShownAnswer(talk.model, talk.text, ("cut off",) if "length" in talk.finish_reasons else ())


def _pairs(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, ShownJudgement]]:
    """(question, what both orders come to), of one model."""
    by_question: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_question.setdefault(verdict.question_id, []).append(verdict)
    for contest in win_rates.contests(verdicts):
        said = by_question[contest.question_id]
        replies = tuple(ShownReply(f"{_name(v.first, v)} first", _says(v), v.text) for v in said)
        yield contest.question_id, ShownJudgement(said[0].model, said[0].baseline, contest.result, replies)


def _says(verdict: Verdict) -> str:
    better = win_rates.winner(verdict)
    return {"tie": "a tie", "unscored": "no verdict"}.get(better) or f"{_name(better, verdict)} is better"


def _name(side: str, verdict: Verdict) -> str:
    return verdict.model if side == "model" else verdict.baseline


def _numbers(scores: Sequence[Score]) -> Iterator[tuple[str, ShownJudgement]]:
    """(question, the numbers of its turns), of one model after another."""
    by_talk: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        by_talk.setdefault((score.model, score.question_id), []).append(score)
    for (model, id), given in by_talk.items():
        yield id, ShownJudgement(model, "", "number", tuple(map(_of_score, given)))


def _of_score(score: Score) -> ShownReply:
    return ShownReply(f"turn {score.turn}", f"{score.value:g} of 10" if score.value else "no number", score.text)
