"""What is shown of a run's answers, from rows in its stages' folders; of comparisons see `recipes/test_compare.py`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.engines import Replicas
from pipelines.core.config import Engine
from pipelines.core.parts import write_rows
from pipelines.core.recipe import Distil, TinyLLM, Tune
from pipelines.core.records import ChoiceAnswer, EvalAnswer, Instruction, Question
from pipelines.core.stage import Done
from pipelines.core.storage import Folder
from pipelines.runs import browsing, served
from serving.served import Served


def of(recipe: type[Any], **fields: Any) -> Any:
    """A recipe of this method, of which only these fields are looked at."""
    return recipe.model_construct(method=recipe.model_fields["method"].annotation.__args__[0], **fields)


def done(runs: Folder, name: str, rows: Sequence[Any]) -> Done:
    write_rows(runs.child(name), rows, type(rows[0]))
    return Done(runs.child(name), {})


def answer(model: str, **changes: Any) -> EvalAnswer:
    fields = {
        "id": model, "instruction_id": "t1", "text": f"{model} said", "finish_reason": "stop",
        "reference": "The river.", "nll": 9.0, "reference_tokens": 4, "rouge_l": 0.25, "repeated_3grams": 0.1,
    }  # fmt: skip
    return EvalAnswer(model=model, **(fields | changes))


def test_held_out_tasks_have_the_answers_of_all_models_with_their_figures(runs: Folder) -> None:
    task = Instruction("t1", "Name it.", "Here.", "seed", "held_out", (), "", "", task_type="generation")
    answers = [
        answer("student", finish_reason="length", nll=0.0, reference_tokens=0),
        answer("student-before", text="", finish_reason="", nll=12.0),
        answer("teacher"),
    ]
    stages = {"held_out": done(runs, "held_out", [task]), "evaluate": done(runs, "evaluate", answers)}
    (row,), about = browsing.of_run(of(Distil), stages)
    assert about == browsing.ABOUT["distil"]
    assert (row.id, row.category, row.prompt, row.reference) == ("t1", "generation", "Name it.\n\nHere.", "The river.")
    assert [(each.model, each.text, each.facts) for each in row.answers] == [
        ("teacher", "teacher said", ("2.250 nats per token of the reference", "ROUGE-L 0.250", "10% repeated")),
        ("student-before", "", ("3.000 nats per token of the reference", "was asked for no answer")),
        ("student", "student said", ("ROUGE-L 0.250", "10% repeated", "cut off")),
    ]


def test_choices_are_told_right_or_wrong_before_and_after(runs: Folder) -> None:
    question = Question("q1", "k", "Which?", "", ("red", "blue"), 1, "test")
    unasked = Question("q2", "k", "Why?", "", ("red", "blue"), 0, "train")
    before = ChoiceAnswer("a", "q1", "student-before", "red!", "stop", -1, 0, 1)
    after = ChoiceAnswer("b", "q1", "student", "blue", "stop", 1, 1, 1)
    stages = {
        "questions": done(runs, "questions", [question, unasked]),
        "accuracy_before": done(runs, "accuracy_before", [before]),
        "accuracy": done(runs, "accuracy", [after]),
    }
    (row,), _ = browsing.of_run(of(TinyLLM), stages)
    assert (row.category, row.reference) == ("student-before wrong, student right", "blue")
    assert row.prompt == "Which?\nAnswer Choices:\n(a) red\n(b) blue"
    assert [each.facts for each in row.answers] == [
        ("written: wrong", "likeliest: red (wrong)"),
        ("written: right", "likeliest: blue (right)"),
    ]


def test_where_no_answers_are_the_words_say_why() -> None:
    assert browsing.of_run(of(Distil), {}) == ([], "This run has asked no model yet; answers come with its evaluation.")
    rows, about = browsing.of_run(of(Tune), {})
    assert rows == []
    assert "method tune" in about


def test_the_student_before_is_where_its_first_weights_are(runs: Folder) -> None:
    engine = Engine()
    recipe = of(Distil, student=type("Student", (), {"engine": engine}))
    init = Done(runs, {"digest": "d0", "facts": {"model": "/elsewhere"}})
    before = served.before(recipe, {"student_init": init})
    assert before == Served("student-before", Path("/elsewhere"), "d0", engine, Replicas(0, 1))
