"""How options are named, and which one a rationale comes to, where it says so.

Knows the turns of phrase that a conclusion stands in ("the answer is", "(b) is correct", "so, (b)"), and how an option
is named there: by its letter, as in every prompt here, or by its very text.
"""

import re
from collections.abc import Iterator, Sequence

from pipelines.core.records import Question
from pipelines.generate.rouge import tokens

_OPEN, _CLOSE = r"[\"'“‘*_\[(]*", r"[\"'”’*_\])]"
_IS = r"\s+(?:is|will\s+be|would\s+be|must\s+be|should\s+be)\b\s*:?"
_ANSWER_IS = re.compile(
    rf"\b(?:(?:answer|option|choice)(?:\s+(?:to|of|for)\s+(?:this|the)\s+question)?{_IS}|(?:answer|ans)\s*:)\s*"
    r"(?:(?:clearly|obviously|therefore|thus|then|probably|definitely|most\s+likely)\b,?\s*)?",
    re.I,
)
# A bare "a" may be the article: it names an option only where nothing goes on behind it.
_LETTER = re.compile(
    rf"(?:option|choice|letter)\s+{_OPEN}([a-z])\b|{_OPEN}([a-z]){_CLOSE}|([a-z])(?=\s*(?:[.,;:!]|\n|\Z))|([b-z])(?=\s)",
    re.I,
)
_AMONG_OTHERS = re.compile(
    rf"{_CLOSE}*(?:\s*,\s*\(?[a-z]\b\)?)*[\s,]*(?:\bor\b|\band\b|/)\s*(?:option\s+)?\(?[b-z]\b", re.I
)
_IS_RIGHT = re.compile(
    rf"(?:\b(?:option|choice|answer)\s+{_OPEN}([a-z])\b|\(([a-z])\)){_CLOSE}*\s+is\s+"
    r"(?:the\s+)?(?:only\s+|most\s+)?(?:correct|right|best|answer)\b",
    re.I,
)
_SO = re.compile(r"\b(?:so|hence|therefore|thus),?\s+(?:option\s+)?\(([a-z])\)\s*(?:[.!]|\n|\Z)", re.I)
_REACH = 400  # characters behind "the answer is" in which an option's text is looked for


def lettered(choices: Sequence[str]) -> list[str]:
    """Each behind its letter: "(a) ..."."""
    return [f"({letter(n)}) {choice}" for n, choice in enumerate(choices)]


def letter(choice: int) -> str:
    return chr(ord("a") + choice)


def concluded(text: str, question: Question) -> int | None:
    """The option that the text names last as the answer; None where it names none."""
    found = [*_after_answer_is(text, question.choices), *_by_letter(_IS_RIGHT, text), *_by_letter(_SO, text)]
    named = [(at, choice) for at, choice in found if choice < len(question.choices)]
    return max(named)[1] if named else None


def says_right(text: str, question: Question) -> bool:
    """Whether it concludes with the right option; where it concludes nothing, whether it has the words of that one and
    of no other."""
    conclusion = concluded(text, question)
    if conclusion is not None:
        return conclusion == question.answer
    said, options = _words(text), [_words(choice) for choice in question.choices]
    right = options.pop(question.answer)
    return right in said and not any(other in said.replace(right, " ") for other in options)


def _after_answer_is(text: str, choices: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(where, which) for each option that stands behind "the answer is"."""
    for phrase in _ANSWER_IS.finditer(text):
        named = _LETTER.match(text, phrase.end())
        if named is None:
            choice = _by_text(text[phrase.end() : phrase.end() + _REACH], choices)
            if choice is not None:
                yield phrase.start(), choice
        elif not _AMONG_OTHERS.match(text, named.end()):
            yield phrase.start(), _number(named)


def _by_letter(phrase: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    return ((match.start(), _number(match)) for match in phrase.finditer(text))


def _by_text(said: str, choices: Sequence[str]) -> int | None:
    """The longest of the options that `said` begins with, whatever their articles."""
    words, options = _bare(said), [_bare(choice) for choice in choices]
    begun = [(len(option), n) for n, option in enumerate(options) if option and option == words[: len(option)]]
    return max(begun)[1] if begun else None


def _bare(text: str) -> list[str]:
    """Its words without the article before them."""
    words = tokens(text)
    return words[1:] if words and words[0] in ("a", "an", "the") else words


def _number(match: re.Match[str]) -> int:
    return ord(next(filter(None, match.groups())).lower()) - ord("a")


def _words(text: str) -> str:
    """Between spaces, so that only whole words are found in others."""
    return f" {' '.join(_bare(text))} "
