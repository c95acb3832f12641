"""Preferences between a teacher's completions of one prompt: what helped the student over what hurt it.

Knows influences by row and the prompts that rows were asked for with (Montessori-Instruct, arXiv 2410.14208, section
3.3). Does not know how influence is measured, or how a teacher learns from preferences.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from pipelines.core.config import Preferences
from pipelines.core.errors import UserError
from pipelines.core.hashing import key_of
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Completion, Influence, InfluenceMethod, Instruction, Preference, TrainExample
from pipelines.core.stage import Outcome, StageRun


@dataclass(frozen=True)
class Judged:
    """A completion of a prompt, and how much the row that came of it helped: above 0, or hurt: below."""

    completion_id: str
    prompt: str
    text: str
    influence: float


def run(config: Preferences, method: InfluenceMethod, said: Mapping[str, Completion], run: StageRun) -> Outcome:
    """Pairs of the inputs `influence`, `rows` and `tasks`, whose completions `said` has by id. UserError for none."""
    judged = list(_judged(method, said, run))
    found = pairs(judged, config)
    prompts = {one.prompt for one in judged}
    if not found:
        raise UserError(
            f"rounds.preferences: of {len(prompts)} prompts with {len(judged)} probed rows none has a completion that "
            f"helped and one that hurt, {config.margin:g} nats apart; take more samples of each prompt "
            "(instructions.samples), more rows (instructions.target), or a smaller margin"
        )
    write_rows(run.folder, found, Preference)
    count, digest, dropped = summary(run.folder, Preference)
    of_prompt = Counter(pair.prompt for pair in found)
    facts = {
        "prompts": len(prompts), "prompts_with_pairs": len(of_prompt),
        "pairs_per_prompt": dict(sorted(Counter(of_prompt.values()).items())),
        "mean_margin": fmean(pair.margin for pair in found),
    }  # fmt: skip
    return Outcome(count, digest, dropped, facts=facts)


def _judged(method: InfluenceMethod, said: Mapping[str, Completion], run: StageRun) -> Iterator[Judged]:
    tasks = {task.id: task for task in rows_of(run.inputs["tasks"].folder, Instruction)}
    rows = {row.id: row for row in rows_of(run.inputs["rows"].folder, TrainExample)}
    for found in rows_of(run.inputs["influence"].folder, Influence, lambda row: row.method == method):
        completion = said[tasks[rows[found.row_id].instruction_id].completion_id]
        yield Judged(completion.id, completion.prompt, completion.text, found.influence)


def pairs(judged: Iterable[Judged], config: Preferences) -> list[Preference]:
    """Every helpful completion over every harmful one of the same prompt, those furthest apart first.

    A completion that several rows came of counts once, with their sum. One of influence 0 is in no pair.
    """
    by_prompt: dict[str, dict[str, Judged]] = {}
    for one in judged:
        said = by_prompt.setdefault(one.prompt, {})
        before = said[one.completion_id].influence if one.completion_id in said else 0.0
        said[one.completion_id] = Judged(one.completion_id, one.prompt, one.text, before + one.influence)
    return [pair for said in by_prompt.values() for pair in _of_prompt(list(said.values()), config)]


def _of_prompt(said: Sequence[Judged], config: Preferences) -> list[Preference]:
    helped, hurt = ([one for one in said if sign * one.influence > 0] for sign in (1, -1))
    found = [_preference(good, bad) for good in helped for bad in hurt]
    far = [pair for pair in found if pair.margin >= config.margin]
    return sorted(far, key=lambda pair: (-pair.margin, pair.id))[: config.most_per_prompt]


def _preference(good: Judged, bad: Judged) -> Preference:
    id = key_of("preference", good.completion_id, bad.completion_id)
    margin = good.influence - bad.influence
    return Preference(id, good.prompt, good.text, bad.text, good.completion_id, bad.completion_id, margin)
