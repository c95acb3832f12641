"""Filters of answers: each a pure function from a prompt and its answer to a reason, or None to keep it.

Knows what tells a poor answer without asking anyone. None is on by default: which of them fit depends on the tasks.
"""

import re
from collections import Counter
from collections.abc import Callable
from functools import cache

from pipelines.core.plugins import by_name
from pipelines.generate.rouge import rouge_l

AnswerFilter = Callable[[str, str], str | None]

_REFUSAL = re.compile(r"\W*(i'm |i am |we're )?(sorry|afraid)\b|\W*(i|we) (cannot|can't|can not)\b|\W*as an ai\b", re.I)
_PLACEHOLDER = re.compile(
    r"\[(your|insert|enter|name|date|company|city|recipient)\b[^\]\n]*\]|<insert\b[^>\n]*>|lorem ipsum", re.I
)


def refuses(text: str) -> bool:
    """Whether a text begins as an apology or a refusal does."""
    return _REFUSAL.match(text) is not None


def refusal(prompt: str, answer: str) -> str | None:
    return "refusal" if refuses(answer) else None


def echo(prompt: str, answer: str) -> str | None:
    """ROUGE-L F1 with the prompt above 0.8."""
    return "echoes the prompt" if rouge_l(answer, prompt) > 0.8 else None


def placeholder(prompt: str, answer: str) -> str | None:
    """Left open what the prompt had not: `[Your Name]`."""
    return "unfilled placeholder" if _PLACEHOLDER.search(answer) and not _PLACEHOLDER.search(prompt) else None


def lines(prompt: str, answer: str) -> str | None:
    """More than 30 % of the lines stood in it before (Gopher's bound, arXiv 2112.11446, table A1)."""
    found = Counter(stripped for line in answer.splitlines() if (stripped := line.strip()))
    repeated = found.total() - len(found)
    return "repeats lines" if repeated > 0.3 * found.total() else None


def symbols(prompt: str, answer: str) -> str | None:
    """Fewer than half of the visible characters are letters or digits."""
    visible = [c for c in answer if not c.isspace()]
    return "mostly symbols" if 2 * sum(c.isalnum() for c in visible) < len(visible) else None


def capitals(prompt: str, answer: str) -> str | None:
    """More than half of twenty letters or more are capitals, which the prompt's are not."""
    return "mostly capitals" if _shouts(answer) and not _shouts(prompt) else None


def _shouts(text: str) -> bool:
    letters = [c for c in text if c.isupper() or c.islower()]
    return len(letters) >= 20 and 2 * sum(c.isupper() for c in letters) > len(letters)


KNOWN: dict[str, AnswerFilter] = {f.__name__: f for f in (refusal, echo, placeholder, lines, symbols, capitals)}


@cache
def chain(names: tuple[str, ...]) -> tuple[AnswerFilter, ...]:
    """The recipe's filters in their order. UserError for a name that is none."""
    return tuple(by_name(names, KNOWN, "answers.filters"))


def fault(prompt: str, answer: str, names: tuple[str, ...]) -> str | None:
    """The first filter's reason against an answer, or None."""
    return next((reason for f in chain(names) if (reason := f(prompt, answer)) is not None), None)
