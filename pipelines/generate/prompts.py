"""Prompts that ask a teacher for new instructions, and how its text becomes candidates.

Knows the prompt files (`prompts/*.j2`, or a file of the user's) and the two shapes of replies. Does not filter.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jinja2.exceptions import TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from pipelines.core.errors import UserError
from pipelines.core.hashing import file_digest

_FOLDER = Path(__file__).parent / "prompts"
_TAGGED = re.compile(r"<instruction>(.*?)</instruction>", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"^\s*\d+\s*[.)]\s*", re.MULTILINE)


@dataclass(frozen=True)
class InstructionPrompt:
    """A prompt file and how its replies are read. A reply is 'tagged' where the prompt shows the tag."""

    source: str
    shape: Literal["numbered", "tagged"]
    digest: str

    @staticmethod
    def load(name: str) -> "InstructionPrompt":
        """A shipped prompt by name, or a Jinja file of the user's."""
        shipped = _FOLDER / f"{name}.j2"
        path = shipped if shipped.is_file() else Path(name).expanduser()
        if not path.is_file():
            names = sorted(p.stem for p in _FOLDER.glob("*.j2"))
            raise UserError(f"instructions.prompt: {name!r} is none of {names}, and there is no such file")
        source = path.read_text(encoding="utf-8")
        if "examples" not in source:
            raise UserError(f"instructions.prompt: {name!r} never uses `examples`, so all its prompts would be alike")
        try:
            SandboxedEnvironment().parse(source)
        except TemplateSyntaxError as error:
            raise UserError(f"instructions.prompt: {path}:{error.lineno}: {error.message}") from error
        return InstructionPrompt(source, "tagged" if "<instruction>" in source else "numbered", file_digest(path))

    @property
    def is_chat(self) -> bool:
        """Tagged prompts are a user's turn; numbered ones a plain document to go on with."""
        return self.shape == "tagged"

    def render(self, examples: list[str]) -> str:
        return SandboxedEnvironment().from_string(self.source).render(examples=examples).strip()

    def stop(self, shown: int) -> tuple[str, ...]:
        """Where a reply ends: the list's next empty line, or twice as many items as were shown."""
        return ("\n\n", f"\n{2 * shown + 1}.") if self.shape == "numbered" else ()

    def candidates(self, text: str, finish_reason: str) -> tuple[list[str], bool]:
        """Candidate instructions in a reply, whitespace collapsed, and whether a cut-off one was left out."""
        cut = finish_reason == "length"
        if self.shape == "tagged":
            found = _TAGGED.findall(text)
            last = _clean(found[-1]) if found else ""
            return [last] if last else [], cut and not found
        pieces = [piece for piece in _NUMBER.split(text) if piece.strip()]
        return [_clean(piece) for piece in (pieces[:-1] if cut else pieces)], cut and bool(pieces)


def _clean(text: str) -> str:
    """One line, its first letter a capital (the originals lower-case the rest; we do not)."""
    line = " ".join(text.split())
    return line[:1].upper() + line[1:]
