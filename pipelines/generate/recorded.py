"""A teacher that reads from a record: what was said elsewhere, or long ago, to the very same prompts.

Knows JSON lines of {prompt, completion or text, finish_reason?}, and folders of `tutelage import`. A prompt that is
not there fails by itself. A bad line costs no other and is told.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.cache import cached_digest
from pipelines.core.errors import UserError
from pipelines.core.hashing import key_of
from pipelines.core.records import Completion, Conversation, SoftTargets
from pipelines.formats.folder import is_imported, open_imported
from pipelines.formats.json_rows import read_json
from pipelines.generate.teacher import Request, RequestFailed, ScoreRequest

FAULTS_TOLD = 5


@dataclass(frozen=True, slots=True)
class Said:
    """One recorded output. What it cost is not known."""

    prompt: str
    text: str
    finish_reason: str


@dataclass(frozen=True)
class Record:
    """Everything said, by prompt, in the files' order; and what was wrong with the lines that were left out."""

    said: Mapping[str, Sequence[Said]]
    faults: Sequence[str]

    def words(self) -> str:
        """The record in a few words, the first faults with their lines."""
        told = f"{sum(map(len, self.said.values())):,} outputs for {len(self.said):,} prompts"
        if not self.faults:
            return told
        more = ", ..." if len(self.faults) > FAULTS_TOLD else ""
        return f"{told}; {len(self.faults):,} lines left out: {', '.join(self.faults[:FAULTS_TOLD])}{more}"


class RecordedTeacher:
    """Repeats the record (see teacher.Teacher): a request's ordinal says which of a prompt's outputs."""

    def __init__(self, digest: str, record: Record) -> None:
        self._digest, self._said = digest, record.said

    async def write(self, request: Request) -> Completion:
        if request.earlier:
            raise RequestFailed("not recorded: a record holds single turns, and this one follows others")
        samples = self._said.get(request.prompt, ())
        if request.ordinal >= len(samples):
            raise RequestFailed(f"not recorded: {len(samples)} outputs for this prompt" if samples else "not recorded")
        said = samples[request.ordinal]
        return Completion(request.id, self._digest, request.prompt, said.text, (), said.finish_reason, 0, 0)

    async def score(self, request: ScoreRequest) -> SoftTargets:
        raise AssertionError("the recipe lets no such teacher be asked for signals")


def digest(files: Sequence[str], where: str) -> str:
    """What the record holds, by its bytes. UserError for a file that is not there."""
    found = []
    for file in files:
        path = Path(file).expanduser()
        if not path.is_file() and not is_imported(file):
            raise UserError(f"{where}: {file} is neither a file nor a folder of `tutelage import`")
        found.append(cached_digest(path) if path.is_file() else str(open_imported(file)[0]["digest"]))
    return key_of("recorded", *found)


def read(files: Sequence[str], where: str) -> Record:
    """Read the files. UserError, naming the recipe's key `where`, for one that is not there or has no good line."""
    said: dict[str, list[Said]] = {}
    faults: list[str] = []
    for file in files:
        rows = list(_folder(file) if is_imported(file) else _lines(Path(file).expanduser(), where))
        good = [row for row in rows if isinstance(row, Said)]
        its_faults = [f"{Path(file).name} {row}" for row in rows if isinstance(row, str)]
        if not good:
            shown = "; ".join(its_faults[:FAULTS_TOLD]) or "it is empty"
            raise UserError(f"{where}: {file} holds nothing that was said: {shown}")
        for one in good:
            said.setdefault(one.prompt, []).append(one)
        faults += its_faults
    return Record(said, faults)


def _lines(path: Path, where: str) -> Iterator[Said | str]:
    """What each line records, or what is wrong with it."""
    try:
        for row in read_json(path):
            made = row.fault or _said(row.value)
            yield made if isinstance(made, Said) else f"{row.where}: {made}"
    except OSError as error:
        raise UserError(f"{where}: {path} cannot be read: {error.strerror or error}") from error


def _said(row: Any) -> Said | str:
    if not isinstance(row, dict):
        return "not an object"
    prompt, text = row.get("prompt"), row.get("completion", row.get("text"))
    finish = row.get("finish_reason") or "stop"
    if not isinstance(prompt, str):
        return "no text under 'prompt'"
    if not isinstance(text, str):
        return "no text under 'completion' or 'text'"
    if not isinstance(finish, str):
        return "finish_reason is no text"
    return Said(prompt, text, finish)


def _folder(path: str) -> Iterator[Said | str]:
    """The conversations of one question and one answer."""
    _, conversations = open_imported(path)
    for one in conversations:
        yield _of_conversation(one)


def _of_conversation(one: Conversation) -> Said | str:
    messages = one.messages()
    if [m["role"] for m in messages] != ["user", "assistant"]:
        return f"{one.id}: not one question with one answer"
    return Said(messages[0]["content"], messages[1]["content"], "stop")
