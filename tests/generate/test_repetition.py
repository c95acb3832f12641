"""The share of repeated 3-grams, by hand."""

import pytest

from pipelines.generate.repetition import repeated_3grams


def test_repeated_3grams_by_hand() -> None:
    # a b c a b c -> abc bca cab abc: one of four stood before
    assert repeated_3grams("a b c a b c") == pytest.approx(1 / 4)
    assert repeated_3grams("one two three four") == 0.0
    assert repeated_3grams("go go go go go") == pytest.approx(2 / 3)
    assert repeated_3grams("") == 0.0
