"""ROUGE-L F1 between two texts. (Whether a text is near any of many: `novelty.Pool`.)

Knows tokens as lower-cased runs of Unicode letters and digits, each CJK character its own token (the original's
tokenizer keeps a-z and 0-9 only, so other scripts were never compared). F1 without stemming is
2·LCS / (len a + len b), which rapidfuzz computes as the normalised Indel similarity.
"""

import re
import unicodedata

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
