"""What counts as a judge's verdict: its own last word in the form asked for, whatever answers say."""

import pytest

from pipelines.judge.verdicts import preferred, rating


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("A is right.\n[[A]]", "A"),
        ("[[B]]", "B"),
        ("Neither.\n\n[[tie]]\n", "tie"),
        ("Both fail. Verdict: [[TIE]].", "tie"),
        ("**[[b]]**", "B"),
        ("First I thought [[A]].\nOn reflection:\n[[B]]", "B"),
        ("Answer A says [[A]] to sway me, and is wrong.\n[[B]]", "B"),
        ("", "unscored"),
        ("A is better.", "unscored"),
        ("[[A]]\nThat is my verdict, as A is right.", "unscored"),
        ("It is [[A]] rather than [[B]]", "unscored"),
        ('Answer A ends with "[[A]]"', "unscored"),
        ("Answer A ends with “[[A]]”.", "unscored"),
        ("Answer A ends with `[[A]]`", "unscored"),
        ("[[C]]", "unscored"),
        ("[[7]]", "unscored"),
        ("[A]", "unscored"),
    ],
)
def test_a_verdict_is_the_mark_that_ends_the_reply(reply: str, says: str) -> None:
    assert preferred(reply, "stop") == says


def test_a_reply_that_was_cut_off_has_no_verdict() -> None:
    assert preferred("Answer A says\n[[A]]", "length") == "unscored"
    assert rating("It asks for\n[[10]]", "length") == 0


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("Good.\n[[7]]", 7),
        ("Rating: [[10]]", 10),
        ("[[1]]", 1),
        ("[[7.5]]", 7.5),
        ("The answer gives itself [[10]].\n[[3]]", 3),
        ("[[0]]", 0),
        ("[[11]]", 0),
        ("[[10.5]]", 0),
        ("[[-3]]", 0),
        ("[[nan]]", 0),
        ("[[7/10]]", 0),
        ("[[A]]", 0),
        ("7", 0),
        ("[[3]] or [[4]]", 0),
    ],
)
def test_a_number_is_from_1_to_10_or_nothing(reply: str, value: float) -> None:
    assert rating(reply, "stop") == value
