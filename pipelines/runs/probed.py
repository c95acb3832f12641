"""Rounds of influence as a report tells them: how it lay, what was preferred, how the teacher learnt that, some rows.

Knows what the stages of a round leave, and where its rows come from (`recipes/montessori.py`). Measures nothing anew;
what the tuned teachers' students are worth is in `compared.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TypeVar

import numpy as np

from pipelines.core.config import Sampling
from pipelines.core.parts import rows_of
from pipelines.core.recipe import Montessori
from pipelines.core.records import Answer, Influence, Instruction, TrainExample
from pipelines.core.stage import Done
from pipelines.report import data

SHOWN = 3  # rows at each end
Row = TypeVar("Row", Answer, Instruction, TrainExample)


def rounds(recipe: Montessori, done: Mapping[str, Done]) -> tuple[data.InfluenceRound, ...]:
    """Those whose influences are there."""
    method = recipe.rounds.probe.method
    found = []
    for n in range(recipe.rounds.count):
        if stage := done.get(f"influence_{n}"):
            probed = list(rows_of(stage.folder, Influence, lambda row: row.method == method))
            found += [_round(n, probed, done)] if probed else []
    return tuple(found)


def _round(n: int, probed: Sequence[Influence], done: Mapping[str, Done]) -> data.InfluenceRound:
    """The `n`th, counted from 0 as its stages are."""
    influences = [each.influence for each in probed]
    ranked = sorted(probed, key=lambda each: (-each.influence, each.id))
    best, worst = ranked[:SHOWN], ranked[SHOWN:][: -SHOWN - 1 : -1]
    shown = _shown(n, [*best, *worst], done)
    return data.InfluenceRound(
        n + 1,
        len(probed),
        sum(each > 0 for each in influences) / len(probed),
        tuple(map(float, np.quantile(influences, data.QUANTILES))),
        done[f"influence_{n}"].manifest["facts"]["by_loss"],
        shown[: len(best)],
        shown[len(best) :],
        _self_check(done[f"influence_{n}"]),
        _preferred(done.get(f"preferences_{n}")),
        _dpo(done.get(f"teacher_{n + 1}")),
    )


def _self_check(influence: Done) -> data.SelfCheck | None:
    told = influence.manifest["facts"]["self_check"]
    return data.SelfCheck(told["rows"], told["spearman"], told["same_sign"]) if told else None


def _preferred(stage: Done | None) -> data.Preferred | None:
    if stage is None:
        return None
    facts = stage.manifest["facts"]
    per_prompt = {int(pairs): prompts for pairs, prompts in facts["pairs_per_prompt"].items()}
    return data.Preferred(stage.manifest["rows"], facts["mean_margin"], facts["prompts"], per_prompt)


def _dpo(teacher: Done | None) -> tuple[float, float] | None:
    """The first step's, before which nothing was learnt, and the last tenth's: a single step has few preferences."""
    if teacher is None:
        return None
    losses = [point["losses"]["dpo"] for point in teacher.manifest["facts"]["loss_curve"]]
    return losses[0], fmean(losses[-max(1, len(losses) // 10) :])


def _shown(n: int, some: Sequence[Influence], done: Mapping[str, Done]) -> tuple[data.ProbedRow, ...]:
    """These with their texts, and who wrote them."""
    written, answered = done[f"instructions_{n}"], done[f"answers_{n}"]
    examples = _by_id(done[f"probe_rows_{n}"], TrainExample, (each.row_id for each in some))
    answers = _by_id(answered, Answer, (example.answer_id for example in examples.values()))
    tasks = _by_id(written, Instruction, (answer.instruction_id for answer in answers.values()))
    facts = written.manifest["facts"]
    teacher = f"{facts['teacher']} ({facts['teacher_digest'][:12]})"
    sampling = f"instruction: {_sampling(written)}; answer: {_sampling(answered)}"
    found = []
    for each in some:
        answer = answers[examples[each.row_id].answer_id]
        task = tasks[answer.instruction_id]
        found.append(
            data.ProbedRow(
                each.id, each.influence, task.text, task.input, answer.text, task.id, task.parents, teacher, sampling
            )
        )
    return tuple(found)


def _by_id(stage: Done, kind: type[Row], ids: Iterable[str]) -> dict[str, Row]:
    wanted = set(ids)
    return {row.id: row for row in rows_of(stage.folder, kind, lambda row: row.id in wanted)}


def _sampling(stage: Done) -> str:
    """What its config says, in words; what is as usual goes unsaid, but for the temperature."""
    settings = Sampling.model_validate(stage.manifest["config"]["sampling"])
    odd = settings.model_dump(exclude={"temperature", "max_tokens", "stop"}, exclude_defaults=True)
    told = {"temperature": settings.temperature, **odd}
    words = [f"{name.replace('_', ' ')} {value:g}" for name, value in told.items()]
    return ", ".join([*words, f"up to {settings.max_tokens} tokens"])
