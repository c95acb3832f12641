"""What is read out of a teacher's reply, and what is told of the rest."""

import pytest

from pipelines.generate.replies import Candidate, numbered, open_tag, tagged, triples

TRIPLES = """ Sum up the text.
4. Input:
In 2020. the river
#1 rose to 20. It fell.
4. Output:
It rose in 2020.
20. and fell.
###
5. Instruction: Name a king.
5. Input:
<none>
5. Output:
Cnut
"""


@pytest.mark.parametrize(
    ("text", "cut", "texts", "lost"),
    [
        (" List ten\n  rivers.\n4. name  two.\n5) Go.", False, ["List ten rivers.", "Name two.", "Go."], []),
        (" List ten rivers.\n4. Name two ki", True, ["List ten rivers."], ["cut off"]),
        (" List ten ri", True, [], ["cut off"]),
        (" Is 3.5 above 4.\n 4. When was 1984.", False, ["Is 3.5 above 4.", "When was 1984."], []),
        (" \n4.\n5. ", False, [], ["nothing to read"]),
        ("", True, [], ["nothing to read"]),
    ],
)
def test_a_list_is_read_item_by_item(text: str, cut: bool, texts: list[str], lost: list[str]) -> None:
    reply = numbered(text, cut, 3)
    assert [c.text for c in reply.candidates] == texts
    assert [reason for reason, _ in reply.lost] == lost


@pytest.mark.parametrize(
    ("text", "cut", "texts", "lost"),
    [
        ("It trains memory. <instruction>list ten\n rivers.</instruction>", False, ["List ten rivers."], []),
        ("<instruction>A b.</instruction> or <INSTRUCTION>C d.</INSTRUCTION>", False, ["C d."], []),
        ("<instruction>A b.</instruction> and so on and", True, ["A b."], []),
        ("It is useful. <instruction>List ten ri", True, [], ["cut off"]),
        ("I would rather not.", False, [], ["nothing to read"]),
        ("<instruction> </instruction>", False, [], ["nothing to read"]),
    ],
)
def test_a_tagged_reply_is_read_from_its_last_tag(text: str, cut: bool, texts: list[str], lost: list[str]) -> None:
    reply = tagged(text, cut, 9)
    assert [c.text for c in reply.candidates] == texts
    assert [reason for reason, _ in reply.lost] == lost


@pytest.mark.parametrize(
    ("text", "cut", "texts", "lost"),
    [
        ("list ten\nrivers.", False, ["List ten rivers."], []),
        ("A b.</instruction>\n<instruction>C", True, ["A b."], []),
        ("List ten ri", True, [], ["cut off"]),
        (" \n", False, [], ["nothing to read"]),
    ],
)
def test_an_open_tag_is_read_up_to_its_end(text: str, cut: bool, texts: list[str], lost: list[str]) -> None:
    reply = open_tag(text, cut, 9)
    assert [c.text for c in reply.candidates] == texts
    assert [reason for reason, _ in reply.lost] == lost


@pytest.mark.parametrize("opened", ["", "4. Instruction:"])
def test_triples_keep_numbers_and_marks_that_are_text(opened: str) -> None:
    reply = triples(opened + TRIPLES, False, 4)
    assert reply.candidates == (
        Candidate("Sum up the text.", "In 2020. the river\n#1 rose to 20. It fell.", "It rose in 2020.\n20. and fell."),
        Candidate("Name a king.", "", "Cnut"),
    )
    assert reply.lost == ()


@pytest.mark.parametrize(
    ("text", "cut", "reason"),
    [
        (TRIPLES, True, "cut off"),
        (TRIPLES.replace("5. Output", "5. Result"), False, "incomplete"),
        (TRIPLES.replace("5.", "7."), False, "incomplete"),
        (TRIPLES.replace("5. I", "5. i"), False, "incomplete"),
        (TRIPLES.replace("Cnut", ""), False, "incomplete"),
        (TRIPLES.replace(" Name a king.", ""), False, "incomplete"),
    ],
)
def test_a_triple_that_is_cut_off_incomplete_or_out_of_order_is_lost_alone(text: str, cut: bool, reason: str) -> None:
    reply = triples(text, cut, 4)
    assert [c.text for c in reply.candidates] == ["Sum up the text."]
    assert [why for why, _ in reply.lost] == [reason]
