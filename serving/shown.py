"""A run's answers and judgements, as the page's second view reads them: the rows, their file, and what is asked of it.

Knows how rows are kept, filtered and cut into pages. Does not know which stages they come from: `runs/browsing.py`
does. The file's name hashes its content, so whoever holds a name always finds the same rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Annotated, Literal

from fastapi import Query
from pydantic import TypeAdapter

from pipelines.core.hashing import key_of
from pipelines.core.storage import Folder

MOST_AT_ONCE = 100
Result = Literal["win", "loss", "tie", "unscored", "number"]  # of the model, against the baseline; or a number alone


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """What one model said. Maker: `runs/browsing.py`. Reader: the page."""

    model: str
    text: str
    facts: tuple[str, ...] = ()  # what was measured of it, in words


@dataclass(frozen=True, slots=True)
class ShownReply:
    """What the judge said in one order, or of one turn. Maker: `runs/browsing.py`. Reader: the page."""

    order: str  # what it was shown, in words
    says: str  # what that comes to, in words
    text: str  # its own; "" where a likelihood judged


@dataclass(frozen=True, slots=True)
class ShownJudgement:
    """What a judge thinks of one model's answer. Maker: `runs/browsing.py`. Reader: the page."""

    model: str
    baseline: str  # "" where the answer was judged by itself
    result: Result
    replies: tuple[ShownReply, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """One task with all that models said, and what was thought of it. Maker: `runs/browsing.py`. Reader: the page."""

    id: str
    category: str  # "" for none
    prompt: str
    reference: str  # "" for none
    answers: tuple[ShownAnswer, ...]
    judgements: tuple[ShownJudgement, ...] = ()

    def texts(self) -> Iterator[str]:
        """All that a search looks at."""
        yield from (self.id, self.prompt, self.reference)
        yield from (answer.text for answer in self.answers)
        yield from (reply.text for judgement in self.judgements for reply in judgement.replies)


@dataclass(frozen=True)
class Slice:
    """Some of the rows that were asked for."""

    about: str
    categories: Sequence[str]  # of all rows
    total: int  # how many were found
    offset: int
    rows: Sequence[Shown]


_ROWS = TypeAdapter(tuple[Shown, ...])


@dataclass(frozen=True)
class RowsFile:
    """Rows in a run's folder; read when they are first asked for."""

    folder: Folder
    name: str
    about: str  # what they are, or why there are none

    @cached_property
    def rows(self) -> tuple[Shown, ...]:
        return _ROWS.validate_json(self.folder.read_bytes(self.name))

    # Not `async`: reading and searching run in a thread, beside the event loop that models' answers go through.
    def page(
        self,
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_AT_ONCE)] = 20,
        category: str = "",
        q: str = "",
    ) -> Slice:
        """Rows of this category in which this text stands, in whatever case; "" is any."""
        wanted = q.casefold()
        found = [
            row
            for row in self.rows
            if category in ("", row.category) and any(wanted in text.casefold() for text in row.texts())
        ]
        categories = sorted({row.category for row in self.rows} - {""})
        return Slice(self.about, categories, len(found), offset, list(islice(found, offset, offset + limit)))


def kept(folder: Folder, rows: Sequence[Shown], about: str) -> RowsFile:
    """Write the rows, where they are not there yet."""
    content = _ROWS.dump_json(tuple(rows))
    name = f"shown-{key_of(content.decode())}.json"
    if not folder.exists(name):
        folder.write_bytes(name, content)
    return RowsFile(folder, name, about)
