"""A row of a public multiple-choice shape becomes a Question, or the reason why it is none.

Knows the columns of OpenBookQA, ARC, RiddleSense, PIQA, PubMedQA and BioASQ, as their makers give them out and as the
Hugging Face hub does, of TinyLLM's release, and of plain {question, choices, answer}. Does not know files. Spaces
around a text are cut off, because what a student writes is compared with the choices word for word.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from string import ascii_uppercase
from typing import Any, NamedTuple, cast, get_args

from pipelines.core.records import Part, Question
from pipelines.formats.parse import Misfit, Row

_NO_ANSWER: tuple[Any, ...] = (None, "", -1, [])  # -1: the hub's word for a label that is kept secret
_LETTER = re.compile(r"\(?([A-Za-z])\)?")
_YES_NO, _YES_NO_MAYBE = ("yes", "no"), ("yes", "no", "maybe")


class _Found(NamedTuple):
    """What a row's columns say, whatever they are called."""

    stem: str
    choices: tuple[str, ...]
    answer: int
    context: str = ""


def question_of(row: Any, key: str, part: Part) -> Question:
    """The row's question; `key` and `part` are for a row that has none of its own. Raises Misfit."""
    if not isinstance(row, Mapping):
        raise Misfit("not an object", f"an object with columns is expected, not a {type(row).__name__}")
    found = _shape_of(row)(row)
    key = next((str(row[name]) for name in ("id", "pubid") if row.get(name) not in (None, "")), key)
    part = cast(Part, row["part"]) if row.get("part") in get_args(Part) else part
    try:
        "".join((key, found.context, found.stem, *found.choices)).encode()
    except UnicodeEncodeError as error:
        raise Misfit("bad text", "half a character") from error
    id = Question.make_id(found.context, found.stem, found.choices)
    return Question(id, key, found.stem, found.context, found.choices, found.answer, part)


def _shape_of(row: Row) -> Callable[[Row], _Found]:
    for column, shape in _SHAPES.items():
        if column in row:
            return shape
    if "question" not in row:
        raise Misfit("no question", f"no shape that is known has the columns {', '.join(row) or '(none)'}")
    if isinstance(row["question"], Mapping):
        return _nested
    return _labelled if isinstance(row.get("choices"), Mapping) else _plain


def _nested(row: Row) -> _Found:
    """OpenBookQA, ARC and RiddleSense as their makers have them: a question object with its choices."""
    choices = row["question"].get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, Mapping) for choice in choices):
        raise Misfit("fewer than two choices", "a list of {text, label} is expected under question.choices")
    texts, labels = ([choice.get(name) for choice in choices] for name in ("text", "label"))
    return _with_labels(row["question"].get("stem"), texts, labels, row.get("answerKey"))


def _labelled(row: Row) -> _Found:
    """The same three as the hub has them: the choices' texts and labels side by side."""
    choices = row.get("choices")
    if not isinstance(choices, Mapping):
        raise Misfit("fewer than two choices", "an object of {text, label} is expected under choices")
    stem = row.get("question_stem", row.get("question"))
    return _with_labels(stem, choices.get("text"), choices.get("label"), row.get("answerKey"))


def _with_labels(stem: Any, texts: Any, labels: Any, said: Any) -> _Found:
    stem, choices = _stem(stem), _choices(texts)
    names = [str(label) for label in labels] if isinstance(labels, list) else []
    if len(set(names)) != len(choices) or len(names) != len(choices):
        raise Misfit("bad labels", f"{len(choices)} different labels are expected, not {labels!r}")
    return _Found(stem, choices, _index(said, names))


def _piqa(row: Row) -> _Found:
    choices = _choices([row.get("sol1"), row.get("sol2")])
    return _Found(_stem(row["goal"]), choices, _index(row.get("label"), ("0", "1")))


def _pubmed(row: Row) -> _Found:
    return _decided(row["QUESTION"], row.get("CONTEXTS"), _YES_NO_MAYBE, row.get("final_decision"))


def _pubmed_of_hub(row: Row) -> _Found:
    context = row.get("context")
    texts = context.get("contexts") if isinstance(context, Mapping) else context
    return _decided(row.get("question"), texts, _YES_NO_MAYBE, row.get("final_decision"))


def _bioasq(row: Row) -> _Found:
    if row.get("type") != "yesno":
        raise Misfit("no yes-or-no question", f"its type is {row.get('type')!r}")
    texts, said = row.get("snippets"), row.get("exact_answer")
    if isinstance(texts, list):
        texts = [snippet.get("text") if isinstance(snippet, Mapping) else snippet for snippet in texts]
    return _decided(row["body"], texts, _YES_NO, said[0] if isinstance(said, list) and said else said)


def _decided(stem: Any, texts: Any, choices: tuple[str, ...], said: Any) -> _Found:
    """A question that stands after some paragraphs, and is answered with one of the same few words."""
    stem, said = _stem(stem), said.lower() if isinstance(said, str) else said
    return _Found(stem, choices, _index(said, choices), _paragraphs(texts))


def _plain(row: Row) -> _Found:
    """TinyLLM's release, and whoever has no shape of their own. The answer is a text, a letter, or counted from 0."""
    stem, choices = _stem(row["question"]), _choices(row.get("choices"))
    said = row.get("answer")
    if isinstance(said, int):
        return _Found(stem, choices, _index(said, [str(number) for number in range(len(choices))]))
    if isinstance(said, str) and said.strip() not in choices and (letter := _LETTER.fullmatch(said.strip())):
        return _Found(stem, choices, _index(letter[1].upper(), list(ascii_uppercase[: len(choices)])))
    return _Found(stem, choices, _index(said, choices))


# The columns that tell a shape alone; the others have `question`, and differ by what is in it.
_SHAPES: dict[str, Callable[[Row], _Found]] = {
    "question_stem": _labelled,
    "goal": _piqa,
    "QUESTION": _pubmed,
    "pubid": _pubmed_of_hub,
    "body": _bioasq,
}


def _stem(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Misfit("no question", "it is empty" if value in (None, "") else f"it is {value!r}")
    return value.strip()


def _choices(texts: Any) -> tuple[str, ...]:
    if not isinstance(texts, list) or len(texts) < 2:
        raise Misfit("fewer than two choices", "a list of texts is expected")
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise Misfit("an empty choice", f"a text is expected for each of {texts!r}")
    choices = tuple(text.strip() for text in texts)
    if len(set(choices)) < len(choices):
        raise Misfit("the same choice twice", f"among {texts!r}")
    return choices


def _index(said: Any, names: Sequence[str]) -> int:
    """Which of the choices an answer means, by the names that they go by."""
    if said in _NO_ANSWER:
        raise Misfit("no answer", "its label is not given")
    if str(said).strip() not in names:
        raise Misfit("answer is none of the choices", f"it is {said!r}, and they are {', '.join(names)}")
    return names.index(str(said).strip())


def _paragraphs(texts: Any) -> str:
    """What is read before the question; nothing where there is nothing."""
    texts = [] if texts is None else texts
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Misfit("not text", "a list of texts is expected before the question")
    return "\n".join(text.strip() for text in texts)
