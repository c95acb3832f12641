"""ROUGE-L against hand-worked values and against the textbook's own table."""

import random
import unicodedata

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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Über 12 Straßen, x2!", ["über", "12", "straßen", "x2"]),
        ("snake_case", ["snake", "case"]),
        ("写𠀀诗々〇", ["写", "𠀀", "诗", "々", "〇"]),
        ("ア・イー ﾊﾟ", ["ア", "イ", "ー", "ﾊ", "ﾟ"]),  # the dot between is punctuation
        ("か\u3099き", ["か\u3099", "き"]),  # a voicing mark of its own
        ("GPT写诗2首", ["gpt", "写", "诗", "2", "首"]),
        ("half \ud800 pair", ["half", "pair"]),
    ],
)
def test_tokens_of_a_text(text: str, words: list[str]) -> None:
    assert tokens(text) == words


CJK = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "HANGUL SYLLABLE",
       "BOPOMOFO", "IDEOGRAPHIC ITERATION", "IDEOGRAPHIC CLOSING", "IDEOGRAPHIC NUMBER ZERO", "VERTICAL IDEOGRAPHIC",
       "MASU MARK", "VERTICAL KANA", "HENTAIGANA", "HANGZHOU")  # fmt: skip


def test_every_letter_and_digit_belongs_to_a_word_or_is_one_where_it_is_cjk() -> None:
    for character in map(chr, [*range(0x20000), *range(0x20000, 0x323B0, 97)]):
        if unicodedata.category(character)[0] == "M" or character.lower() != character:
            continue
        if not character.isalnum():
            expected = ["x", "y"]
        elif unicodedata.name(character, "").startswith(CJK):
            expected = ["x", character, "y"]
        else:
            expected = [f"x{character}y"]
        assert tokens(f"x{character}y") == expected, f"U+{ord(character):04X}"


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
