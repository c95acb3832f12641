"""What a teacher thought, and what it says in the end."""

import pytest

from pipelines.core.config import Reasoning
from pipelines.core.reasoning import joined, split

MARKS, OPENED = Reasoning(), Reasoning(opened=True)


@pytest.mark.parametrize(
    ("text", "marks", "parts"),
    [
        ("<think>\nTwo and two.\n</think>\n\nFour.", MARKS, ("Two and two.", "Four.")),
        ("<think></think>Four.", MARKS, ("", "Four.")),
        (" Four, says </think>. ", MARKS, ("", "Four, says </think>.")),
        ("Well, <think>two</think>four.", MARKS, ("two", "Well, four.")),
        ("<think>Two and", MARKS, None),
        ("Two and two.</think> Four.", OPENED, ("Two and two.", "Four.")),
        ("<think>Two.</think>Four.", OPENED, ("Two.", "Four.")),
        ("Two and two and", OPENED, None),
        ("[T]x[/T]y", Reasoning(open="[T]", close="[/T]"), ("x", "y")),
    ],
)
def test_thoughts_and_answer_are_told_apart(text: str, marks: Reasoning, parts: tuple[str, str] | None) -> None:
    assert split(text, marks) == parts


def test_what_is_joined_can_be_split_again() -> None:
    assert joined("Two.", "Four.", MARKS) == "<think>\nTwo.\n</think>\n\nFour."
    assert split(joined("Two.", "Four.", MARKS), MARKS) == ("Two.", "Four.")
