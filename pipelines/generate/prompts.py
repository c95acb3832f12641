"""Prompt files: plain Jinja (`prompts/*.j2`, or a file of the user's) whose first comment says how they are meant.

    {# form: chat         a user's turn; or `document`: a plain text that a model goes on with
       reply: numbered    for prompts that ask for instructions: how the reply is read (see replies.py)
       markers: new task  words of the prompt, with commas between, that no good reply repeats #}

Does not read replies.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from pipelines.core.errors import UserError
from pipelines.core.hashing import file_digest
from pipelines.core.records import Instruction
from pipelines.generate import replies
from pipelines.generate.replies import Reply, Shape

_FOLDER = Path(__file__).parent / "prompts"
_HEAD = re.compile(r"\s*\{#(.*?)#\}", re.DOTALL)
_NOTE = re.compile(r"^\s*(form|reply|markers):[ \t]*(.+?)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Prompt:
    """A prompt file, read."""

    source: str
    digest: str
    is_chat: bool
    notes: dict[str, str]

    @staticmethod
    def load(name: str, key: str, shows: Sequence[str]) -> "Prompt":
        """A shipped prompt by name, or a file. UserError, naming the recipe's key, where it shows none of `shows`."""
        shipped = _FOLDER / f"{name}.j2"
        path = shipped if shipped.is_file() else Path(name).expanduser()
        if not path.is_file():
            names = sorted(str(p.relative_to(_FOLDER).with_suffix("")) for p in _FOLDER.rglob("*.j2"))
            raise UserError(f"{key}: {name!r} is none of {names}, and there is no such file")
        source = path.read_text(encoding="utf-8")
        head = _HEAD.match(source)
        notes = dict(_NOTE.findall(head[1])) if head else {}
        if notes.get("form") not in ("chat", "document"):
            raise UserError(f"{key}: {path} must open with a comment that says `form: chat` or `form: document`")
        if not any(word in source for word in shows):
            raise UserError(f"{key}: {path} never uses `{shows[0]}`, so all its prompts would be alike")
        try:
            SandboxedEnvironment().parse(source)
        except TemplateSyntaxError as error:
            raise UserError(f"{key}: {path}:{error.lineno}: {error.message}") from error
        return Prompt(source, file_digest(path), notes["form"] == "chat", notes)

    def render(self, **values: Any) -> str:
        return SandboxedEnvironment().from_string(self.source).render(values).strip()

    def markers(self) -> tuple[str, ...]:
        return tuple(word.strip().lower() for word in self.notes.get("markers", "").split(",") if word.strip())


@dataclass(frozen=True)
class InstructionPrompt:
    """A prompt that asks for new instructions: it shows some, as `examples` (texts) or `tasks` (with input, answer)."""

    prompt: Prompt
    shape: Shape

    @staticmethod
    def load(name: str, key: str = "instructions.prompt") -> "InstructionPrompt":
        prompt = Prompt.load(name, key, ("examples", "tasks"))
        shape = next((shape for shape in replies.READERS if shape == prompt.notes.get("reply")), None)
        if shape is None:
            raise UserError(f"{key}: {name}: its first comment must say `reply:` and one of {list(replies.READERS)}")
        return InstructionPrompt(prompt, shape)

    @property
    def digest(self) -> str:
        return self.prompt.digest

    @property
    def is_chat(self) -> bool:
        return self.prompt.is_chat

    def can_show(self, task: Instruction) -> bool:
        """Whether a task has all that the prompt shows of it."""
        return self.shape != "triples" or bool(task.reference)

    def render(self, shown: Sequence[Instruction]) -> str:
        tasks = [{"instruction": i.text, "input": i.input, "output": i.reference} for i in shown]
        return self.prompt.render(examples=[i.text for i in shown], tasks=tasks)

    def stop(self, shown: int, end: int | None) -> tuple[str, ...]:
        """What ends a reply; a list at number `end`, or else after as many items as were shown."""
        return replies.STOPS[self.shape](end or 2 * shown + 1)

    def read(self, text: str, finish_reason: str, shown: int) -> Reply:
        return replies.READERS[self.shape](text, finish_reason == "length", shown + 1)
