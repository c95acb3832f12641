"""ROUGE-L against hand-worked values and against the textbook's own table."""

import random

import pytest

from pipelines.generate.rouge import rouge_l, tokens


@pytest.mark.parametrize(
    ("a", "b", "f1"),
    [
        ("the cat sat on the mat", "the cat lay on a mat", 4 / 6),  # the, cat, on, mat: LCS 4 of 6 and 6
        ("police killed the gunman", "the gunman killed police", 2 / 4),  # Lin 2004, section 3.1: LCS 2
        ("a b c d", "a c", 2 * 2 / 6),
        ("Write a poem!", "write A poem", 1.0),
        ("Write a poem", "Explain two letters", 0.0),
        ("", "anything", 0.0),
        ("?!", "?!", 0.0),
        ("写一首诗", "写一首歌", 3 / 4),  # each character is a token: the first three of four
        ("詩を書く", "詩を読む", 2 / 4),
        ("시를 써라", "시를 읽어라", 3 / 4.5),  # 4 and 5 tokens, 3 in common
        ("Схема сети", "схема дома", 1 / 2),
        ("snake_case name", "snake case name", 1.0),
    ],
)
def test_f1_as_worked_out_by_hand(a: str, b: str, f1: float) -> None:
    assert rouge_l(a, b) == pytest.approx(f1)
    assert rouge_l(b, a) == pytest.approx(f1)


def test_accents_and_vowel_signs_belong_to_their_word() -> None:
    assert tokens("हिन्दी में लिखो") == ["हिन्दी", "में", "लिखो"]
    assert len(tokens("cafe\u0301 noir")) == 2


def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def random_text(chance: random.Random) -> str:
    words = ["a", "b", "river", "Bread", "12", "写", "诗", "Ünder"]
    return " ".join(chance.choice(words) for _ in range(chance.randint(1, 25)))


def test_f1_is_that_of_the_textbook() -> None:
    chance = random.Random(5)
    for _ in range(300):
        a, b = random_text(chance), random_text(chance)
        common = longest_common_subsequence(tokens(a), tokens(b))
        precision, recall = common / len(tokens(a)), common / len(tokens(b))
        f1 = 2 * precision * recall / (precision + recall) if common else 0.0
        assert rouge_l(a, b) == pytest.approx(f1), (a, b)
