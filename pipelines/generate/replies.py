"""What a teacher's reply holds: candidates for new instructions, and what of it cannot be read.

Knows the shapes of replies that prompt files name. Markers count at the start of a line only, so a text with "20."
or "###" in it is not cut there. Does not filter.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Shape = Literal["numbered", "tagged", "open tag", "triples"]
_TAGGED = re.compile(r"<instruction>(.*?)</instruction>", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"^\s*\d+\s*[.)]\s*", re.MULTILINE)
_RULE = re.compile(r"^###[ \t]*$", re.MULTILINE)
_TRIPLE = re.compile(
    r"\s*(\d+)\.\s*Instruction:(.*?)^\s*\1\.\s*Input:(.*?)^\s*\1\.\s*Output:(.*)\Z", re.DOTALL | re.MULTILINE
)
_NO_INPUT = {"<none>", "none", "n/a", "-", ""}


@dataclass(frozen=True)
class Candidate:
    """A task that may become an Instruction."""

    text: str
    input: str = ""
    output: str = ""


@dataclass(frozen=True)
class Reply:
    """A reply, read: what may be kept, and (reason, text) of what could not be read."""

    candidates: tuple[Candidate, ...]
    lost: tuple[tuple[str, str], ...] = ()


def numbered(text: str, cut: bool, first: int) -> Reply:
    """A list whose first number stands already in the prompt; the last item of one that was cut off is lost."""
    pieces = [piece for piece in _NUMBER.split(text) if piece.strip()]
    whole = pieces[:-1] if cut else pieces
    lost = (("cut off", pieces[-1]),) if cut and pieces else ()
    return Reply(tuple(Candidate(one_line(piece)) for piece in whole), lost or _nothing(whole, text))


def tagged(text: str, cut: bool, first: int) -> Reply:
    """One instruction, in the reply's last tag pair."""
    found = _TAGGED.findall(text)
    last = one_line(found[-1]) if found else ""
    if last:
        return Reply((Candidate(last),))
    return Reply((), (("cut off", text),) if cut and not found else _nothing([], text))


def open_tag(text: str, cut: bool, first: int) -> Reply:
    """One instruction, up to the closing tag; the opening one stands in the prompt."""
    body, closed, _ = text.partition("</instruction>")
    if cut and not closed:
        return Reply((), (("cut off", text),))
    line = one_line(body)
    return Reply((Candidate(line),)) if line else Reply((), _nothing([], text))


def triples(text: str, cut: bool, first: int) -> Reply:
    """Instruction, input and output, with rules between; each must have its number and all three."""
    opened = text if re.match(rf"\s*{first}\.\s*Instruction:", text) else f"{first}. Instruction: {text}"
    pieces = [piece for piece in _RULE.split(opened) if piece.strip()]
    lost = [("cut off", pieces.pop())] if cut else []
    found = []
    for number, piece in enumerate(pieces, first):
        triple = _TRIPLE.match(piece)
        instruction, input, output = (triple[n].strip() for n in (2, 3, 4)) if triple else ("", "", "")
        if triple is None or int(triple[1]) != number or not instruction or not output:
            lost.append(("incomplete", piece))
            continue
        found.append(Candidate(one_line(instruction), "" if input.lower() in _NO_INPUT else input, output))
    return Reply(tuple(found), tuple(lost))


def one_line(text: str) -> str:
    """One line, its first letter a capital (the originals lower-case the rest; we do not)."""
    line = " ".join(text.split())
    return line[:1].upper() + line[1:]


def _nothing(found: list[str], text: str) -> tuple[tuple[str, str], ...]:
    return () if found else (("nothing to read", text),)


READERS: Mapping[Shape, Callable[[str, bool, int], Reply]] = {
    "numbered": numbered, "tagged": tagged, "open tag": open_tag, "triples": triples,
}  # fmt: skip
STOPS: Mapping[Shape, Callable[[int], tuple[str, ...]]] = {
    "numbered": lambda end: ("\n\n", f"\n{end}."),
    "tagged": lambda end: (),
    "open tag": lambda end: ("</instruction>",),
    "triples": lambda end: (f"\n{end}. Instruction:",),
}
