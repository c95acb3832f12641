"""A reasoning teacher's reply: what it thought, and what it says in the end.

Knows the marks around the thoughts. A reply whose thoughts never end has no answer.
"""

from pipelines.core.config import Reasoning


def split(text: str, marks: Reasoning) -> tuple[str, str] | None:
    """(thoughts, answer), both stripped; None where the thoughts are not closed."""
    before, opened, rest = text.partition(marks.open)
    if not opened and not marks.opened:
        return "", text.strip()
    if not opened:
        before, rest = "", text
    thoughts, closed, answer = rest.partition(marks.close)
    return (thoughts.strip(), f"{before}{answer}".strip()) if closed else None


def joined(thoughts: str, answer: str, marks: Reasoning) -> str:
    """The assistant's turn to train on: the thoughts between their marks, an empty line, the answer."""
    return f"{marks.open}\n{thoughts}\n{marks.close}\n\n{answer}"
