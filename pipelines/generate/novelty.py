"""A pool of accepted texts that finds, exactly and without comparing all pairs, the one a candidate is nearest to.

Knows ROUGE-L F1 = 2·LCS / (m + n) over `rouge.tokens`, and what it can be at most before any LCS is computed. A
longest common subsequence is no longer than the overlap of the two bags of words, so the similarity join of Chaudhuri
et al. (ICDE 2006; AllPairs, WWW 2007; PPJoin, WWW 2008) applies. Elements of a bag are words with their occurrence:
the second `the` is an element of its own. Does not know why texts are compared, nor where they come from.

Of n tokens, a near pair shares at least o, the least with 2·o / (o + n) above the threshold. Put all elements in one
fixed order: then each text's first n - o + 1 elements, its prefix, meet the other's. Only prefixes are indexed.
Candidates that met are bounded twice before the LCS decides:

- count: what is common beyond c elements shared by the prefixes lies in the rest of one text, so the overlap is at
  most c + max(rest, other's rest);
- sketch: an element flips one bit of 1,024, so two bags differ in no fewer elements than their sketches in bits
  (Sandes et al., Bitmap filter, 2017): 2·overlap <= m + n - differing bits. It says little about texts with many more
  tokens than bits.

The order is that of first sight, latest first: what is seen late is rare, and rare elements make short lists. It
never changes, so the index is never rebuilt. Bounds and decision are the same division of integers by the same
m + n, which rounding keeps in order, so no bound can contradict the decision.
"""

from array import array
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Indel

from pipelines.generate.rouge import tokens

Element = tuple[str, int]  # a word, and how often it stood in the text before
Rows = NDArray[np.int32]

_WORDS = 16  # of 64 bits in a sketch
_BITS = 64 * _WORDS


@dataclass(frozen=True)
class Near:
    text: str
    score: float
    row: int  # its place in the order of adding, from 0


class Pool:
    """Accepted texts; `nearest` finds the one whose F1 with a candidate is highest, if it is above the threshold."""

    def __init__(self, threshold: float) -> None:
        assert 0 < threshold <= 1, threshold
        self._threshold = threshold
        self._texts: list[str] = []
        self._first: dict[str, int] = {}
        self._numbers: dict[Element, int] = {}  # in the order of first sight
        self._postings: dict[int, array[int]] = {}  # an element's number: the rows with it in their prefix
        self._lengths = array("i")
        self._rests = array("i")  # elements that are not in the row's prefix
        self._sketches = array("Q")

    def add(self, text: str) -> None:
        row = len(self._texts)
        self._texts.append(text)
        self._first.setdefault(text, row)
        elements = self._numbered(tokens(text))
        self._numbers.update(elements)
        prefix = self._prefix(elements.values())
        for number in prefix:
            if number not in self._postings:
                self._postings[number] = array("i")
            self._postings[number].append(row)
        self._lengths.append(len(elements))
        self._rests.append(len(elements) - len(prefix))
        self._sketches.extend(_sketch(elements.values()).tolist())

    def nearest(self, text: str) -> Near | None:
        """The most similar text above the threshold, the first added of equals; the very same text is always near."""
        if text in self._first:
            return Near(text, 1.0, self._first[text])
        words = tokens(text)
        best: Near | None = None
        for row, bound in self._candidates(words):
            if best is not None and bound < best.score:
                break
            other = tokens(self._texts[row])
            score = Indel.similarity(words, other) / (len(words) + len(other))  # its similarity is 2·LCS
            if score > self._threshold and (best is None or (score, -row) > (best.score, -best.row)):
                best = Near(self._texts[row], score, row)
        return best

    def _candidates(self, words: list[str]) -> list[tuple[int, float]]:
        """Rows that may be near, each with the most that its F1 can be, highest first."""
        numbers = self._numbered(words).values()
        prefix = self._prefix(numbers)
        lists = [np.frombuffer(self._postings[n], np.int32) for n in prefix if n in self._postings]
        if not lists:
            return []
        rows, shared = np.unique(np.concatenate(lists), return_counts=True)
        size, sizes = len(numbers), np.frombuffer(self._lengths, np.int32)[rows]
        rest, rests = size - len(prefix), np.frombuffer(self._rests, np.int32)[rows]
        overlap = np.minimum(shared + np.maximum(rests, rest), np.minimum(sizes, size))
        may_be = 2 * overlap / (sizes + size) > self._threshold
        rows, total, overlap = rows[may_be], sizes[may_be] + size, overlap[may_be]
        bounds = np.minimum(2 * overlap, total - self._differing_bits(rows, _sketch(numbers))) / total
        may_be = bounds > self._threshold
        rows, bounds = rows[may_be], bounds[may_be]
        order = np.argsort(-bounds, kind="stable")
        return list(zip(rows[order].tolist(), bounds[order].tolist(), strict=True))

    def _differing_bits(self, rows: Rows, sketch: NDArray[np.uint64]) -> NDArray[np.int32]:
        sketches = np.frombuffer(self._sketches, np.uint64).reshape(-1, _WORDS).take(rows, axis=0)
        by_word = np.bitwise_count(sketches ^ sketch).T.copy()  # numpy adds few long rows faster than many short ones
        differing: NDArray[np.int32] = by_word.sum(axis=0, dtype=np.int32)
        return differing

    def _numbered(self, words: list[str]) -> dict[Element, int]:
        """The text's elements with their numbers; those not seen before get the next ones."""
        fresh = count(len(self._numbers))
        before: Counter[str] = Counter()
        numbered: dict[Element, int] = {}
        for word in words:
            element = (word, before[word])
            before[word] += 1
            number = self._numbers.get(element)
            numbered[element] = next(fresh) if number is None else number
        return numbered

    def _prefix(self, numbers: Collection[int]) -> list[int]:
        """The elements of which a near text must share one in its own prefix."""
        size = len(numbers)
        return sorted(numbers, reverse=True)[: size - self._least_shared(size) + 1]

    def _least_shared(self, size: int) -> int:
        """How many of `size` tokens a near text shares at least (a text of these alone scores best); size + 1: none."""
        least = max(1, int(size * self._threshold / (2 - self._threshold)) - 1)  # from below, whatever the rounding
        while least <= size and 2 * least / (least + size) <= self._threshold:
            least += 1
        return least


def _sketch(numbers: Collection[int]) -> NDArray[np.uint64]:
    """The bag in 1,024 bits. Neighbouring numbers have bits of their own, so the commonest elements never collide."""
    bits = 0
    for number in numbers:
        bits ^= 1 << (number % _BITS)
    return np.frombuffer(bits.to_bytes(_BITS // 8, "little"), np.uint64)
