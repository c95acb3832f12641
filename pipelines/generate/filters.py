"""Filters of new instructions: each a pure function from a text to a reason, or None to keep it.

Knows the filters of the Self-Instruct and Alpaca releases (length, keywords, start). Whether a text is new is
not a filter of its own: it needs the pool, and `novelty.Pool` says.
"""

import re
from collections.abc import Callable
from functools import partial

from pipelines.core.config import Filtered
from pipelines.core.plugins import by_name

Filter = Callable[[str], str | None]

# What a text model cannot show or do: Self-Instruct's list, with the words that Alpaca added.
_BEYOND_TEXT = (
    "image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot",
    "go to", "video", "audio", "music", "flowchart", "diagram",
)  # fmt: skip
_KEYWORDS = re.compile(r"\b(" + "|".join(_BEYOND_TEXT) + r")\b", re.IGNORECASE)


def length(text: str, min_words: int, max_words: int) -> str | None:
    words = len(text.split())
    if words < min_words:
        return "too short"
    return "too long" if words > max_words else None


def keywords(text: str) -> str | None:
    return "beyond text" if _KEYWORDS.search(text) else None


def start(text: str) -> str | None:
    """A task starts with an ASCII letter or digit, and does not ask for a whole program."""
    if not re.match(r"[A-Za-z0-9]", text):
        return "odd start"
    return "asks for a program" if text.lower().startswith("write a program") else None


def chain(config: Filtered) -> list[Filter]:
    """The recipe's filters in their order. UserError for a name that is none."""
    known: dict[str, Filter] = {
        "length": partial(length, min_words=config.min_words, max_words=config.max_words),
        "keywords": keywords,
        "start": start,
    }
    return by_name(config.filters, known, "instructions.filters")


def first_reason(text: str, filters: list[Filter]) -> str | None:
    """The first filter's reason against a text, or None."""
    return next((reason for f in filters if (reason := f(text)) is not None), None)
