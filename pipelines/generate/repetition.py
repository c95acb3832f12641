"""How much a text repeats itself: the loops that small models fall into.

Knows one text at a time.
"""

from pipelines.generate.rouge import tokens


def repeated_3grams(text: str) -> float:
    """Share of a text's 3-grams that stood earlier in it; 0 for fewer than two 3-grams."""
    words = tokens(text)
    grams = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(grams)) / len(grams) if len(grams) > 1 else 0.0
