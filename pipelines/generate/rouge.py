"""ROUGE-L F1 between two texts. (Whether a text is near any of many: `novelty.Pool`.)

Knows tokens as lower-cased runs of Unicode letters and digits (those of `str.isalnum`), each CJK character its own
token (the original's tokenizer keeps a-z and 0-9 only, so other scripts were never compared). F1 without stemming is
2·LCS / (len a + len b), which rapidfuzz computes as the normalised Indel similarity.
"""

import re
import unicodedata

from rapidfuzz.distance import Indel

# Kana, bopomofo, Hangul syllables and Han. Punctuation among them is no token: it must be `\w`, too.
_CJK = (
    "\u3005-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\uff66-\uff9f\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
# Accents and vowel signs of their own belong to the word they stand in; `\w` alone would cut it there.
# (Those of the first plane: with any beyond it `re` would walk through a list of thousands for every letter.)
_MARKS = "".join(c for c in map(chr, range(0x300, 0xFE30)) if unicodedata.category(c) in ("Mn", "Mc"))
_TOKEN = re.compile(rf"(?:[^\W_{_CJK}]++[{_MARKS}]*+)++|(?=\w)[{_CJK}][{_MARKS}]*+")


def tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


def rouge_l(a: str, b: str) -> float:
    """F1 in [0, 1]; 0 where either text has no tokens."""
    first, second = tokens(a), tokens(b)
    return float(Indel.normalized_similarity(first, second)) if first and second else 0.0
