"""Pairs of completions: every helpful one over every harmful one of the same prompt."""

from pipelines.core.config import Preferences
from pipelines.generate.preferences import Judged, pairs

SAID = [
    Judged("a", "p", "A", 0.3), Judged("b", "p", "B", -0.1), Judged("c", "p", "C", 0.1), Judged("d", "p", "D", 0.0),
    Judged("e", "q", "E", 0.2), Judged("f", "q", "F", 0.5),
    Judged("g", "r", "G", -0.4), Judged("h", "r", "H", 0.1), Judged("g", "r", "G", 0.6),
]  # fmt: skip


def test_each_prompts_helpful_ones_stand_over_its_harmful_ones() -> None:
    found = pairs(SAID, Preferences())
    assert [(p.chosen, p.rejected, round(p.margin, 6)) for p in found] == [("A", "B", 0.4), ("C", "B", 0.2)]
    assert {p.prompt for p in found} == {"p"}  # of the others none hurt: G's two rows sum up to 0.2


def test_margin_and_cap_leave_the_clearest() -> None:
    assert [p.chosen_id for p in pairs(SAID, Preferences(margin=0.3))] == ["a"]
    assert [p.chosen_id for p in pairs(SAID, Preferences(most_per_prompt=1))] == ["a"]


def test_ids_say_which_two() -> None:
    ids = {p.id for p in pairs(SAID, Preferences())}
    assert len(ids) == 2
    assert ids == {p.id for p in pairs(reversed(SAID), Preferences())}
