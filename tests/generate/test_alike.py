"""MinHash and embeddings as measures of nearness: what each finds, and what it must not."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import UserError
from pipelines.core.progress import Progress
from pipelines.generate.alike import EmbeddingPool, MinHashPool, embedder
from pipelines.generate.dedupe import dedupe, way
from pipelines.generate.novelty import Near
from pipelines.generate.rouge import tokens

WORDS = [f"w{n}" for n in range(400)]


def _triples(text: str) -> set[tuple[str, ...]]:
    words = tokens(text)
    return set(zip(words, words[1:], words[2:], strict=False))


def test_minhash_finds_what_shares_its_triples_and_nothing_far() -> None:
    """Against the exact Jaccard similarity, away from the threshold by more than four standard errors."""
    chance = random.Random(2)
    pool, kept = MinHashPool(0.6), []
    for _ in range(60):
        text = " ".join(chance.choices(WORDS, k=60))
        pool.add(text)
        kept.append(text)
    for text in kept:
        words = text.split()
        words[30] = "else"  # three of 58 triples are others
        near = pool.nearest(" ".join(words))
        assert near is not None
        assert near.text == text
        exact = 55 / 61
        assert near.score == pytest.approx(exact, abs=4 / 32)
        assert pool.nearest(" ".join(words[:30] + chance.choices(WORDS, k=30))) is None  # about a third


def test_minhash_knows_the_same_text_and_short_ones() -> None:
    pool = MinHashPool(0.9)
    for text in ("", "One", "Hello you", "雨"):
        assert pool.nearest(text) is None
        pool.add(text)
    assert pool.nearest("Hello you") == Near("Hello you", 1.0, 2)
    assert pool.nearest("hello YOU!") == Near("Hello you", 1.0, 2)
    assert pool.nearest("half \ud800") is None


VECTORS = {"east": (1, 0), "also east": (0.96, 0.28), "north": (0, 1), "north-east": (0.6, 0.8)}


def _vectors(texts: Sequence[str]) -> np.ndarray:
    return np.array([VECTORS[text] for text in texts], np.float32)


def test_embeddings_are_near_by_their_cosine() -> None:
    pool = EmbeddingPool(0.9, [*VECTORS, "east"], _vectors)
    assert pool.nearest("east") is None
    pool.add("east")
    near = pool.nearest("also east")
    assert near is not None
    assert (near.text, near.row) == ("east", 0)
    assert near.score == pytest.approx(0.96)
    assert pool.nearest("north") is None
    pool.add("north")
    assert pool.nearest("north-east") is None
    assert pool.nearest("north") == Near("north", 1.0, 1)


def test_a_file_by_another_measure(tmp_path: Path, quiet: Progress) -> None:
    source = tmp_path / "rows.jsonl"
    rows = [{"instruction": text} for text in VECTORS] + [{"other": 1}, {"instruction": "east"}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, dropped = tmp_path / "kept", tmp_path / "dropped"
    counts = dedupe(
        source, "instruction", 0.9, out, dropped, quiet, lambda limit, texts: EmbeddingPool(limit, texts, _vectors)
    )
    assert counts.dropped == {"near": 1, "no such field": 1, "same text": 1}
    assert [json.loads(line)["instruction"] for line in out.read_text().splitlines()] == ["east", "north", "north-east"]
    assert json.loads(dropped.read_text().splitlines()[0])["nearest"] == {"line": 1, "text": "east"}


def test_any_causal_models_states_are_embeddings(tiny_llama: Path) -> None:
    vectors_ND = embedder(str(tiny_llama))(["List ten rivers.", "List ten rivers.", "Why is the sky blue?"])
    assert np.linalg.norm(vectors_ND, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    cosines = vectors_ND @ vectors_ND.T
    assert cosines[0, 1] == pytest.approx(1, abs=1e-5)
    assert cosines[0, 2] < 0.999


@pytest.mark.parametrize(
    ("measure", "model", "words"),
    [
        ("embedding", None, "needs --model"),
        ("minhash", "somewhere", "has no use for --model"),
        ("embedding", "nowhere", "--model: there is no model 'nowhere'"),
    ],
)
def test_models_that_cannot_be_are_told(measure: str, model: str | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        way(measure, model)  # type: ignore[arg-type]
