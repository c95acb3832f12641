"""Prompts as the teacher sees them, and what is read out of its replies."""

from pathlib import Path

import pytest

from pipelines.core.errors import UserError
from pipelines.generate.prompts import InstructionPrompt

NUMBERED = InstructionPrompt.load("numbered")
TAGGED = InstructionPrompt.load("tagged")


def test_a_numbered_prompt_leaves_the_next_number_open() -> None:
    shown = NUMBERED.render(["List ten rivers.", "Name <two> & {{ three }}."])
    assert shown.splitlines()[-3:] == ["1. List ten rivers.", "2. Name <two> & {{ three }}.", "3."]
    assert not NUMBERED.is_chat
    assert NUMBERED.stop(2) == ("\n\n", "\n5.")


def test_a_tagged_prompt_shows_each_example_in_its_tag() -> None:
    shown = TAGGED.render(["List ten rivers.", "Name two."])
    assert shown.split()[-5:] == [
        "<instruction>List",
        "ten",
        "rivers.</instruction>",
        "<instruction>Name",
        "two.</instruction>",
    ]
    assert TAGGED.is_chat
    assert TAGGED.stop(2) == ()


@pytest.mark.parametrize(
    ("text", "finish", "candidates", "cut"),
    [
        (" List ten\n  rivers.\n4. name  two.\n5) Go.", "stop", ["List ten rivers.", "Name two.", "Go."], False),
        (" List ten rivers.\n4. Name two ki", "length", ["List ten rivers."], True),
        (" List ten ri", "length", [], True),
        (" Is 3.5 above 4.\n 4. When was 1984.", "stop", ["Is 3.5 above 4.", "When was 1984."], False),
        (" \n4.\n5. ", "stop", [], False),
        ("", "length", [], False),
    ],
)  # fmt: skip
def test_a_numbered_reply_is_read_item_by_item(text: str, finish: str, candidates: list[str], cut: bool) -> None:
    assert NUMBERED.candidates(text, finish) == (candidates, cut)


@pytest.mark.parametrize(
    ("text", "finish", "candidates", "cut"),
    [
        ("It trains memory. <instruction>list ten\n rivers.</instruction>", "stop", ["List ten rivers."], False),
        ("<instruction>A b.</instruction> or <INSTRUCTION>C d.</INSTRUCTION>", "stop", ["C d."], False),
        ("<instruction>A b.</instruction> and so on and", "length", ["A b."], False),
        ("It is useful. <instruction>List ten ri", "length", [], True),
        ("I would rather not.", "stop", [], False),
        ("<instruction> </instruction>", "stop", [], False),
    ],
)
def test_a_tagged_reply_is_read_from_its_last_tag(text: str, finish: str, candidates: list[str], cut: bool) -> None:
    assert TAGGED.candidates(text, finish) == (candidates, cut)


def test_a_prompt_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.j2"
    file.write_text("{% for e in examples %}<instruction>{{ e }}</instruction>{% endfor %} More!", encoding="utf-8")
    mine = InstructionPrompt.load(str(file))
    assert mine.shape == "tagged"
    assert mine.render(["A.", "B."]) == "<instruction>A.</instruction><instruction>B.</instruction> More!"
    file.write_text("{{ examples | join('\n') }}", encoding="utf-8")
    again = InstructionPrompt.load(str(file))
    assert again.shape == "numbered"
    assert again.digest != mine.digest


@pytest.mark.parametrize(
    ("source", "words"), [(None, "none of"), ("Write a task.", "never uses"), ("{% for e in examples %}", "mine.j2")]
)
def test_a_prompt_that_cannot_be_used_is_told(tmp_path: Path, source: str | None, words: str) -> None:
    file = tmp_path / "mine.j2"
    if source is not None:
        file.write_text(source, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        InstructionPrompt.load(str(file))
