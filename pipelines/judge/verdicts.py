"""What a judge's reply says: its own last word in the form that it was asked for, or nothing.

Knows the forms `[[A]]`, `[[B]]`, `[[tie]]` and `[[7]]`. Only the last line counts, with one such mark at its end and
not in quotation marks: a judge repeats what answers say, and an answer may say "[[A]]". A reply that was cut off has no
last line. Nothing is guessed. Does not know what was judged.
"""

import re
from typing import Final

from pipelines.core.records import Said

LEAST, MOST = 1.0, 10.0
CUT_OFF: Final = "length"  # how a completion ends that hit max_tokens
_MARK = re.compile(r"\[\[([^\[\]]*)\]\]")
_END = re.compile(r"[\s.*_]*")  # what may stand behind the mark: a full stop, the end of bold type
_NUMBER = re.compile(r"\d{1,2}(\.\d+)?")
_SAID: dict[str, Said] = {"a": "A", "b": "B", "tie": "tie"}


def preferred(reply: str, finish_reason: str) -> Said:
    """Which of two answers the judge finds better."""
    return _SAID.get(_last_mark(reply, finish_reason).lower(), "unscored")


def rating(reply: str, finish_reason: str) -> float:
    """The number that the judge gives an answer; 0 where there is none from 1 to 10."""
    told = _last_mark(reply, finish_reason)
    value = float(told) if _NUMBER.fullmatch(told) else 0.0
    return value if LEAST <= value <= MOST else 0.0


def _last_mark(reply: str, finish_reason: str) -> str:
    """What the mark says that ends the reply; "" where none does."""
    lines = reply.strip().splitlines()
    if not lines or finish_reason == CUT_OFF:
        return ""
    mark = _MARK.search(lines[-1])
    if mark is None or not _END.fullmatch(lines[-1][mark.end() :]):
        return ""
    return mark[1].strip()
