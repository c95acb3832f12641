"""Filters of rationales, each a pure function, and the trimming that may go before them.

Knows what tells a poor rationale without asking anyone: base models run on, or stop in mid-sentence; weak ones say the
question again; told the right answer, some still argue for another. TinyLLM's release (arXiv 2402.04616) has all of
these. Does not know what becomes of a poor one.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from rapidfuzz.distance import LCSseq

from pipelines.core.config import RationaleFilter
from pipelines.core.records import Question, Rationale
from pipelines.generate.conclusions import concluded, lettered
from pipelines.generate.rouge import tokens

ECHO = 0.9  # the share of words that the prompt has too

_SOMETHING_ELSE = (
    r"#|```",  # a heading, a block of code
    r"(?:next )?q[ \t.]*\d*[*_ \t]*[:.)]",  # another question
    r"(?:next )?(?:question|problem|exercise)s?[ \t#]*(?:\d+|[*_ \t]*(?::|$))",
    r"(?:answer )?(?:options|choices)[*_ \t]*(?::|$)",  # its options, or a list that says nothing of them
    r"\(?a[.)][ \t]+[^.:?!,(\n]{1,60}\n+[ \t]*\(?b[.)][ \t]",
    r"(?:solved )?examples?[ \t]*\d*[*_ \t]*:",  # a solved example
    r"let['’]s think step by step",
    r"(?<=\n)(?:(?:another )?explanation|solution|rationale|hint|comment)s?[ \t]*\d*[*_ \t]*:",  # the next of its kind
)
_RUNS_ON = re.compile(rf"^[ \t>*_-]*(?:{'|'.join(_SOMETHING_ELSE)})", re.I | re.M)
# Behind the number that opens a line there is a full stop, too, which ends nothing.
_SENTENCE_END = re.compile(r"(?<!^\d)(?<!^\d\d)[.!?…。！？][\"'”’»)\]}*_]*(?=\s|\Z)", re.M)


def own_part(text: str) -> str:
    """A rationale up to where something else begins."""
    other = _RUNS_ON.search(text)
    return text[: other.start()] if other else text


def trimmed(rationale: Rationale) -> Rationale:
    """Up to where something else begins, and there up to the end of the last sentence. Nothing may be left."""
    own = own_part(rationale.text)
    end = max((match.end() for match in _SENTENCE_END.finditer(own)), default=0)
    text = own[:end].strip()
    id = Rationale.make_id(rationale.question_id, rationale.source, text)
    return replace(rationale, id=id, text=text, finish_reason="stop")


def runs_on(rationale: Rationale, question: Question, min_words: int) -> bool:
    """Another question, a list of options, a heading, a block of code or a solved example begins in it."""
    return own_part(rationale.text) != rationale.text


def cut_off(rationale: Rationale, question: Question, min_words: int) -> bool:
    """It was stopped at its length, or no sentence ends where it does; quotes and brackets may close behind that."""
    text = rationale.text.rstrip()
    return rationale.finish_reason == "length" or all(end.end() < len(text) for end in _SENTENCE_END.finditer(text))


def too_short(rationale: Rationale, question: Question, min_words: int) -> bool:
    return len(rationale.text.split()) < min_words


def echoes(rationale: Rationale, question: Question, min_words: int) -> bool:
    """Nine in ten of its words stand in question and options, each sentence's in one order with it (as in ROUGE-L's
    precision): the question again, its options, or a sentence made of the two."""
    prompt = tokens(" ".join((question.context, question.stem, *lettered(question.choices))))
    sentences = [tokens(sentence) for sentence in _sentences(rationale.text)]
    common = sum(LCSseq.similarity(sentence, prompt) for sentence in sentences)
    return bool(common >= ECHO * sum(map(len, sentences)))


def argues_for_another(rationale: Rationale, question: Question, min_words: int) -> bool:
    """The last option that it names as the answer is a wrong one. To name none is no fault."""
    return concluded(own_part(rationale.text), question) not in (None, question.answer)


KNOWN: Mapping[RationaleFilter, Callable[[Rationale, Question, int], bool]] = {
    "runs on": runs_on,
    "cut off": cut_off,
    "too short": too_short,
    "echoes the prompt": echoes,
    "argues for another": argues_for_another,
}


def fault(
    rationale: Rationale, question: Question, filters: Iterable[RationaleFilter], min_words: int
) -> RationaleFilter | None:
    """The first of the filters that has something against it, in their order."""
    return next((name for name in filters if KNOWN[name](rationale, question, min_words)), None)


def _sentences(text: str) -> list[str]:
    """Lines are sentences, too, where nothing else ends one."""
    return _SENTENCE_END.sub("\n", text).splitlines()
