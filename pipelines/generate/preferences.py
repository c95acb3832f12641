"""Preferences between a teacher's completions of one prompt: what helped the student over what hurt it.

Knows influences by row and the prompts that rows were asked for with (Montessori-Instruct, arXiv 2410.14208, section
3.3). Does not know how influence is measured, or how a teacher learns from preferences.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.core.config import Preferences
from pipelines.core.hashing import key_of
from pipelines.core.records import Preference


@dataclass(frozen=True)
class Judged:
    """A completion of a prompt, and how much the row that came of it helped: above 0, or hurt: below."""

    completion_id: str
    prompt: str
    text: str
    influence: float


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
