"""What a report tells of training: the loss curve over a run's trainings, rounds of own answers, notes.

Knows the facts that training stages leave (`train/student.py`) and the answers of rounds. Measures nothing anew.
"""

from collections.abc import Iterable, Mapping
from itertools import chain, repeat
from statistics import fmean
from typing import Any

from pipelines.core.parts import rows_of
from pipelines.core.recipe import AnyRecipe, Distil, Montessori
from pipelines.core.records import Answer
from pipelines.core.stage import Done
from pipelines.generate.repetition import repeated_3grams
from pipelines.recipes import montessori, on_policy
from pipelines.report import data


def loss_curve(recipe: AnyRecipe, done: dict[str, Done]) -> tuple[data.LossPoint, ...]:
    """The student's trainings, one after the other."""
    points, tokens, steps = [], 0, 0
    for of, facts in _trainings(recipe, done):
        for p in facts["loss_curve"]:
            tokens += p["tokens"]
            looked = {"validation": p["validation"]} if "validation" in p else {}
            losses = {f"{name}{of}": value for name, value in {**p["losses"], **looked}.items()}
            points.append(data.LossPoint(steps + p["step"], tokens, losses, p["learning_rate"]))
        steps += facts["steps"]
    return tuple(points)


def _trainings(recipe: AnyRecipe, done: dict[str, Done]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """(what tells its losses from another's, its facts) of each; of several students of one teacher the first's.

    A student's own answers have curves of their own, and so have the students of each teacher.
    """
    if not isinstance(recipe, Montessori):
        return zip(chain([""], repeat(", own answers")), of_each(done), strict=False)
    of = {", untuned teacher" if not n else f", after round {n}": n for n in range(recipe.rounds.count + 1)}
    students = {name: done.get(montessori.student_name(recipe, rounds)) for name, rounds in of.items()}
    return [(name, student.manifest["facts"]) for name, student in students.items() if student]


def of_each(done: dict[str, Done]) -> list[Mapping[str, Any]]:
    """What the stages that train say of themselves, in their order."""
    return [d.manifest["facts"] for d in done.values() if "loss_curve" in d.manifest["facts"]]


def rounds(recipe: Distil, done: dict[str, Done]) -> tuple[data.RoundRow, ...]:
    """The rounds whose answers are there."""
    rows = []
    for round, said in enumerate((d for name, d in done.items() if name.startswith("own_answers_")), 1):
        answers, m = list(rows_of(said.folder, Answer)), said.manifest
        trained = done.get(on_policy.student_name(recipe, round))
        curve = trained.manifest["facts"]["loss_curve"] if trained else []
        apart = [p["losses"]["kd"] for p in curve if "kd" in p["losses"]]
        written_down = max(1, len(answers))
        rows.append(
            data.RoundRow(
                round, len(answers), m["output_tokens"] / max(1, len(answers) + sum(m["dropped"].values())),
                sum(a.finish_reason == "length" for a in answers) / written_down,
                sum(repeated_3grams(a.text) for a in answers) / written_down,
                fmean(apart) if apart else None,
            )
        )  # fmt: skip
    return tuple(rows)


def notes(facts: dict[str, Any]) -> list[str]:
    """What each loss weighed in what was minimised, and how much of the teachers the captured candidates left out."""
    told = []
    if len(shares := facts.get("loss_shares", {})) > 1:
        parts = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        told.append(f"Of what training minimised, over all steps: {parts}.")
    if (rest := facts.get("teacher_rest")) is not None:
        told.append(f"The captured candidates leave out {rest:.1%} of the teacher's probability, on average.")
    return told
