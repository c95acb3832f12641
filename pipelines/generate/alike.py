"""Two other measures of nearness for `tutelage dedupe`, over well-kept libraries: MinHash and embeddings.

Each pool has the methods of `novelty.Pool`: `nearest` and `add`. MinHash (datasketch) finds texts of the same word
triples, approximately, in memory that does not grow with their length. Embeddings (sentence-transformers) find texts of
the same meaning, as a model of the user's sees it; their cosine is exact. Rounds of instructions use neither.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.generate.novelty import Near
from pipelines.generate.rouge import tokens

if TYPE_CHECKING:
    from datasketch import MinHash

Embed = Callable[[Sequence[str]], NDArray[np.float32]]  # N texts to unit vectors [N, D]

_HASHES = 256  # of a text; the estimate of a Jaccard similarity J has a standard error of at most 1/32


class Seen(Protocol):
    """Accepted texts, and which of them is nearest to a candidate; None where none is above the threshold."""

    def nearest(self, text: str) -> Near | None: ...

    def add(self, text: str) -> None: ...


class MinHashPool:
    """Near: the estimated Jaccard similarity of the sets of word triples is above the threshold."""

    def __init__(self, threshold: float) -> None:
        from datasketch import MinHash, MinHashLSH

        self._threshold = threshold
        self._texts: list[str] = []
        self._first: dict[str, int] = {}
        self._blank = MinHash(_HASHES)
        self._sketches: list[MinHash] = []
        # Bands that rarely miss: what they find too much of is told by the estimate.
        self._bands = MinHashLSH(threshold, _HASHES, weights=(0.1, 0.9))
        self._last = ("", self._blank)  # what is added was just looked for

    def nearest(self, text: str) -> Near | None:
        if text in self._first:
            return Near(text, 1.0, self._first[text])
        sketch = self._sketch(text)
        scored = [(sketch.jaccard(self._sketches[row]), -row) for row in self._bands.query(sketch)]
        score, row = max(scored, default=(0.0, 0))
        return Near(self._texts[-row], score, -row) if score > self._threshold else None

    def add(self, text: str) -> None:
        row, sketch = len(self._texts), self._sketch(text)
        self._first.setdefault(text, row)
        self._texts.append(text)
        self._sketches.append(sketch)
        self._bands.insert(row, sketch)

    def _sketch(self, text: str) -> "MinHash":
        if self._last[0] != text:
            words = tokens(text)
            triples = {" ".join(words[n : n + 3]) for n in range(max(1, len(words) - 2))}
            sketch = self._blank.copy()
            sketch.update_batch([triple.encode("utf-8", "surrogatepass") for triple in triples])
            self._last = text, sketch
        return self._last[1]


class EmbeddingPool:
    """Near: the cosine of two texts' embeddings is above the threshold. `texts` are all that will come."""

    def __init__(self, threshold: float, texts: Iterable[str], embed: Embed) -> None:
        self._threshold = threshold
        self._numbers = {text: n for n, text in enumerate(dict.fromkeys(texts))}
        self._vectors_ND = embed(list(self._numbers))
        self._kept_ND = np.empty_like(self._vectors_ND)
        self._texts: list[str] = []

    def nearest(self, text: str) -> Near | None:
        if not self._texts:
            return None
        cosines_K = self._kept_ND[: len(self._texts)] @ self._vectors_ND[self._numbers[text]]
        row = int(cosines_K.argmax())
        score = float(cosines_K[row])
        is_same = self._texts[row] == text  # rounding must not keep a text twice
        return Near(self._texts[row], score, row) if score > self._threshold or is_same else None

    def add(self, text: str) -> None:
        self._kept_ND[len(self._texts)] = self._vectors_ND[self._numbers[text]]
        self._texts.append(text)


def embedder(folder: str) -> Embed:
    """The embeddings of a model in a folder: one made for it, or any other one's final states, averaged."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder)

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.asarray(model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False), np.float32)

    return embed
