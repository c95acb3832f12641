"""The pool against a loop over all pairs: the same rows kept, the same nearest text, and little kept per row."""

import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from rapidfuzz.distance import Indel, LCSseq

from pipelines.generate import novelty
from pipelines.generate.novelty import Near, Pool
from pipelines.generate.rouge import tokens

ALPACA = Path(__file__).parents[2].parent / "shared/data/alpaca/alpaca_4000.json"


class AllPairs:
    """What the pool is to equal: every text looked at, one by one."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._texts: list[str] = []
        self._words: list[list[str]] = []

    def add(self, text: str) -> None:
        self._texts.append(text)
        self._words.append(tokens(text))

    def nearest(self, text: str) -> Near | None:
        if text in self._texts:
            return Near(text, 1.0, self._texts.index(text))
        words = tokens(text)
        scores = [2 * LCSseq.similarity(words, w) / max(1, len(words) + len(w)) for w in self._words]
        best = max(scores, default=0.0)
        row = scores.index(best) if best > self._threshold else None
        return None if row is None else Near(self._texts[row], best, row)


def assert_same(texts: list[str], threshold: float) -> int:
    """Both see the texts in order and agree about each; how many were kept."""
    pool, brute = Pool(threshold), AllPairs(threshold)
    kept = 0
    for text in texts:
        near = pool.nearest(text)
        assert near == brute.nearest(text), (threshold, text)
        if near is None:
            pool.add(text)
            brute.add(text)
            kept += 1
    return kept


def few_words(chance: random.Random) -> str:
    """Repeats on nearly every text, and now and then nothing at all."""
    return " ".join(chance.choices(["a", "b", "c", "River", "!"], k=chance.randint(0, 9)))


def zipf(chance: random.Random) -> str:
    """As prose: few words are common, most are rare."""
    return " ".join(f"w{int(chance.paretovariate(0.7)) % 3000}" for _ in range(chance.randint(1, 14)))


def han(chance: random.Random) -> str:
    """No spaces: every character is a token. Some Latin between."""
    return "".join(
        chance.choice(["写", "诗", "一", "首", "歌", "ab ", "가", "の"]) for _ in range(chance.randint(1, 12))
    )


def scripts(chance: random.Random) -> str:
    """Whatever Unicode has: what lower-casing lengthens, marks, scripts with and without spaces, no text at all."""
    pieces = ["İZMİR", "straße", "STRASSE", "ǅ", "ΟΔΟΣ", "cafe\u0301", "café", "हिन्दी", "में", "か\u3099", "𠀀", "诗",
              "・", "글", "x²", "_", "١٢", "🙂", "\ud800", "\u200b", "سلام", "ไทย"]  # fmt: skip
    return "".join(chance.choice(pieces) + chance.choice(["", " ", "\n"]) for _ in range(chance.randint(0, 14)))


def long(chance: random.Random) -> str:
    """Longer than the sketch is wide: it says little, and the other bounds must do."""
    return " ".join(f"w{int(chance.paretovariate(0.5)) % 400}" for _ in range(chance.randint(700, 1600)))


def edited(chance: random.Random, text: str) -> str:
    """A text near another: some words replaced, dropped, doubled or swapped."""
    words = text.split(" ")
    for _ in range(chance.randint(0, 1 + len(words) // 3)):
        at = chance.randrange(len(words))
        words[at : at + 1] = chance.choice([["w1"], [], [words[at]] * 2, ["new", words[at]]])
        words = words or ["w2"]
    if chance.random() < 0.2:
        chance.shuffle(words)
    return " ".join(words)


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.6, 2 / 3, 0.7, 0.8, 0.9, 1.0])
@pytest.mark.parametrize(("make", "rows"), [(few_words, 150), (zipf, 250), (han, 200), (scripts, 200), (long, 16)])
def test_the_pool_equals_all_pairs(make: Callable[[random.Random], str], rows: int, threshold: float) -> None:
    for seed in range(2):
        chance = random.Random(f"{make.__name__} {seed}")
        texts: list[str] = []
        while len(texts) < rows:
            texts.append(edited(chance, chance.choice(texts)) if texts and chance.random() < 0.5 else make(chance))
        kept = assert_same(texts, threshold)
        assert kept > 0
        assert kept < rows or threshold > 0.7


def test_the_pool_equals_all_pairs_where_f1_is_on_the_threshold() -> None:
    """Every F1 that texts of up to ten tokens can have, as the threshold itself."""
    words = [f"w{i}" for i in range(20)]
    for m in range(1, 11):
        for n in range(m, 11):
            for common in range(1, m + 1):
                one, other = " ".join(words[:m]), " ".join(words[m - common : m - common + n])
                if one != other:
                    assert_same([one, other], 2 * common / (m + n))
                    assert assert_same([one, other], 2 * common / (m + n) - 1e-9) == 1


@pytest.mark.skipif(not ALPACA.is_file(), reason="shared/data/alpaca is not beside this checkout")
def test_the_pool_equals_all_pairs_on_real_prompts() -> None:
    texts = [row["instruction"] for row in json.loads(ALPACA.read_text())][:1000]
    assert_same(texts, 0.7)
    assert assert_same(texts, 0.5) < 1000


def test_of_equally_near_texts_the_first_added_is_named() -> None:
    pool = Pool(0.5)
    for text in ("a b c x", "a b c y", "A b c x!"):
        pool.add(text)
    assert pool.nearest("a b c z") == Near("a b c x", 0.75, 0)
    assert pool.nearest("a b c y z") == Near("a b c y", 8 / 9, 1)
    assert pool.nearest("A b c x!") == Near("A b c x!", 1.0, 2)
    assert pool.nearest("a b c x.") == Near("a b c x", 1.0, 0)


def test_texts_without_tokens_are_near_only_to_themselves() -> None:
    pool = Pool(0.1)
    for text in ("?!", "", "a"):
        assert pool.nearest(text) is None
        pool.add(text)
    assert pool.nearest("?!") == Near("?!", 1.0, 0)
    assert pool.nearest("!?") is None


def test_few_texts_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds do the work: of two million pairs, less than one in a hundred is compared."""
    chance = random.Random(3)
    compared: list[str] = []
    monkeypatch.setattr(novelty, "Indel", _Counting(compared))
    pool = Pool(0.7)
    for _ in range(2_000):
        if pool.nearest(text := zipf(chance)) is None:
            pool.add(text)
    assert 0 < len(compared) < 20_000


class _Counting:
    def __init__(self, compared: list[str]) -> None:
        self._compared = compared

    def similarity(self, one: list[str], other: list[str]) -> int:
        self._compared.append(" ".join(other))
        return int(Indel.similarity(one, other))


def test_a_row_is_kept_in_little_memory() -> None:
    chance = random.Random(3)
    texts = list(dict.fromkeys(zipf(chance) for _ in range(5_000)))
    tracemalloc.start()
    pool = Pool(0.7)
    for text in texts:
        pool.add(text)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / len(texts) < 600


def test_a_pool_finds_the_nearest_above_its_threshold() -> None:
    pool = Pool(0.7)
    assert pool.nearest("Write a short poem about rain") is None
    for text in ("Write a short poem about rain", "Write a short poem about the rain", "List ten rivers"):
        pool.add(text)
    near = pool.nearest("write a short poem about the rain, please")
    assert near is not None
    assert near.text == "Write a short poem about the rain"
    assert near.score == pytest.approx(2 * 7 / 15)
    assert pool.nearest("Explain how bread is baked") is None
    assert pool.nearest("!") is None


def test_the_threshold_itself_is_not_too_near() -> None:
    pool = Pool(0.5)
    pool.add("a b c d")
    assert pool.nearest("a b x y") is None  # exactly 0.5
    assert pool.nearest("a b c y") is not None


def test_the_very_same_text_is_near_whatever_the_threshold() -> None:
    pool = Pool(1.0)
    pool.add("Write a poem")
    assert pool.nearest("Write a poem today") is None
    assert pool.nearest("Write a poem") is not None
