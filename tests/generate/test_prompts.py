"""Prompts as the teacher sees them, and what a file of the user's must say."""

from pathlib import Path

import pytest

from pipelines.core.errors import UserError
from pipelines.core.records import Instruction
from pipelines.generate.prompts import InstructionPrompt

NUMBERED, TAGGED, TRIPLES = (InstructionPrompt.load(name) for name in ("numbered", "tagged", "triples"))
HEAD = "{# form: document\n   reply: tagged #}"


def task(text: str, input: str = "", output: str = "") -> Instruction:
    return Instruction("i", text, input, "seed", "train", (), "", output)


def test_a_numbered_prompt_leaves_the_next_number_open() -> None:
    shown = NUMBERED.render([task("List ten rivers."), task("Name <two> & {{ three }}.")])
    assert shown.splitlines()[-3:] == ["1. List ten rivers.", "2. Name <two> & {{ three }}.", "3."]
    assert not NUMBERED.is_chat
    assert NUMBERED.stop(2, None) == ("\n\n", "\n5.")
    assert NUMBERED.stop(2, 16) == ("\n\n", "\n16.")


def test_a_tagged_prompt_shows_each_example_in_its_tag() -> None:
    shown = TAGGED.render([task("List ten rivers."), task("Name two.")])
    assert shown.split()[-5:] == [
        "<instruction>List",
        "ten",
        "rivers.</instruction>",
        "<instruction>Name",
        "two.</instruction>",
    ]
    assert TAGGED.is_chat
    assert TAGGED.stop(2, None) == ()
    assert InstructionPrompt.load("tagged-open").render([task("Name two.")]).endswith("<instruction>")


def test_triples_show_whole_tasks_and_end_at_a_line_and_not_at_any_number() -> None:
    shown = TRIPLES.render([task("List two rivers.", "Asia", "Ob\nLena"), task("Sing.", "", "La.")])
    assert shown.splitlines()[-13:] == [
        "###", "1. Instruction: List two rivers.", "1. Input:", "Asia", "1. Output:", "Ob", "Lena",
        "###", "2. Instruction: Sing.", "2. Input:", "<none>", "2. Output:", "La.", "###", "3. Instruction:",
    ][-13:]  # fmt: skip
    assert TRIPLES.stop(3, 20) == ("\n20. Instruction:",)
    assert (TRIPLES.can_show(task("Sing.")), NUMBERED.can_show(task("Sing."))) == (False, True)


def test_a_prompt_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.j2"
    file.write_text(HEAD + "{% for e in examples %}<instruction>{{ e }}</instruction>{% endfor %} More!")
    mine = InstructionPrompt.load(str(file))
    assert (mine.shape, mine.is_chat) == ("tagged", False)
    assert mine.render([task("A."), task("B.")]) == "<instruction>A.</instruction><instruction>B.</instruction> More!"
    file.write_text("{# form: chat\nreply: numbered #}{{ examples | join('\n') }}", encoding="utf-8")
    again = InstructionPrompt.load(str(file))
    assert (again.shape, again.is_chat) == ("numbered", True)
    assert again.digest != mine.digest


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "none of"), (HEAD + "Write a task.", "never uses `examples`"), (HEAD + "{% for examples", "j2:2"),
        ("{{ examples }}", "must open with a comment"), ("{# form: song #}{{ examples }}", "must open with a comment"),
        ("{# form: chat #}{{ examples }}", "`reply:`"), ("{# form: chat\nreply: x #}{{ examples }}", "`reply:`"),
    ],
)  # fmt: skip
def test_a_prompt_that_cannot_be_used_is_told(tmp_path: Path, source: str | None, words: str) -> None:
    file = tmp_path / "mine.j2"
    if source is not None:
        file.write_text(source, encoding="utf-8")
    with pytest.raises(UserError, match=r"instructions\.prompt") as refused:
        InstructionPrompt.load(str(file))
    assert words in str(refused.value)
