"""ROUGE-L F1 between short texts, and a pool that finds the nearest text it holds.

Knows tokens as lower-cased runs of Unicode letters and digits, each CJK character its own token (the original's
tokenizer keeps a-z and 0-9 only, so other scripts were never compared). F1 without stemming is
2·LCS / (len a + len b), which rapidfuzz computes as the normalised Indel similarity.
"""

import re
import unicodedata
from dataclasses import dataclass

from rapidfuzz import process
from rapidfuzz.distance import Indel

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
# Accents and vowel signs of their own belong to the word they stand in; `\w` alone would cut it there.
_MARKS = "".join(c for c in map(chr, range(0x300, 0xFE30)) if unicodedata.category(c) in ("Mn", "Mc"))
_TOKEN = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}_])\w[{_MARKS}]*)+")


def tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


def rouge_l(a: str, b: str) -> float:
    """F1 in [0, 1]; 0 where either text has no tokens."""
    first, second = tokens(a), tokens(b)
    return float(Indel.normalized_similarity(first, second)) if first and second else 0.0


@dataclass(frozen=True)
class Near:
    text: str
    score: float


class Pool:
    """Accepted texts; `nearest` finds one whose F1 with a candidate is above the threshold."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._texts: list[str] = []
        self._tokens: list[list[str]] = []
        self._same: set[str] = set()

    def add(self, text: str) -> None:
        self._same.add(text)
        self._texts.append(text)
        self._tokens.append(tokens(text))

    def nearest(self, text: str) -> Near | None:
        """The most similar text above the threshold, or None; the very same text is always near."""
        if text in self._same:
            return Near(text, 1.0)
        if not (candidate := tokens(text)) or not self._texts:
            return None
        found = process.extractOne(
            candidate, self._tokens, scorer=Indel.normalized_similarity, score_cutoff=self._threshold
        )
        if found is None or found[1] <= self._threshold:
            return None
        return Near(self._texts[found[2]], float(found[1]))
