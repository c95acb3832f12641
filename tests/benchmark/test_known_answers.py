"""Each check of an endpoint, on replies that are right and on replies that are wrong in its way."""

import pytest

from pipelines.benchmark import known_answers as checks
from pipelines.core.records import Likelihood


def told(*logprobs: float, is_greedy: bool = False) -> Likelihood:
    return Likelihood("id", logprobs, is_greedy)


def test_what_ships_is_plain_and_told_apart_by_its_first_word() -> None:
    texts = checks.plain()
    assert len(texts) == 16
    assert all(t.right[0] == t.wrong[0] == " " and t.right.split()[0] != t.wrong.split()[0] for t in texts)
    assert not any(t.context[-1].isspace() for t in texts)


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        ([(1, 2), (3,)], ""),
        ([(0, 1, 2), (0, 3)], "makes 3 tokens, and the tokenizer here 2; the first other one is token 0"),
        ([(1, 2), (4,)], "of 'b' the endpoint makes 1 tokens, and the tokenizer here 1"),
        ([(1, 2, 9), (3,)], "one begins as the other does"),
    ],
)
def test_tokens(theirs: list[tuple[int, ...]], words: str) -> None:
    found = checks.tokens(["a", "b"], [(1, 2), (3,)], theirs)
    assert words in found.fault
    assert bool(found.fault) == bool(words)


def test_no_log_probability_is_above_0() -> None:
    assert not checks.probabilities([told(-1.0, 0.0), told(-3.0)]).fault
    assert "0.5 is no log-probability" in checks.probabilities([told(-1.0), told(0.5)]).fault
    assert "nan" in checks.probabilities([told(-1.0), told(float("nan"))]).fault


def test_a_text_is_worth_its_parts() -> None:
    begun, rest = told(-1.0, -2.0), told(-3.0, -0.5)
    assert not checks.additive(begun, rest, told(-1.0, -2.02, -3.0, -0.5)).fault
    shifted = checks.additive(begun, rest, told(-1.0, -1.0, -2.0, -3.0))
    assert "differ by 0.125 nats per token" not in shifted.saw
    assert "at the wrong tokens" in checks.additive(begun, rest, told(-9.0, -1.0, -2.0, -3.0)).fault


def test_right_continuations_are_likelier_per_token() -> None:
    right, wrong = [told(-1.0, -1.0)] * 3 + [told(-5.0)], [told(-1.5)] * 4
    assert not checks.preferred(right, wrong, 0.75).fault
    assert "only 3 of 4 right continuations" in checks.preferred(right, wrong, 0.8).fault
    assert not checks.preferred(wrong, right, 0.0).fault


def test_the_greedy_flag_says_what_is_likeliest() -> None:
    yes, no = [told(-0.1, is_greedy=True)] * 10, [told(-4.0)] * 10
    assert not checks.greedy(yes, no).fault
    assert not checks.greedy([*yes[1:], no[0]], no).fault  # one near tie
    assert checks.greedy(yes, yes).fault
    assert checks.greedy(no, no).fault


def test_a_reply_is_no_longer_than_was_asked_for() -> None:
    assert not checks.bounded([3, 8], 8).fault
    assert "have up to 9: max_tokens is not kept" in checks.bounded([3, 9], 8).fault


def test_a_reply_ends_before_a_stop_string() -> None:
    assert not checks.stopped("one two three", "wo", "one t").fault
    assert checks.stopped("one two three", "wo", "one two three").fault
    assert checks.stopped("one two three", "wo", "one two").fault
    assert checks.stopped("one two three", "wo", "one or the other").fault


def test_a_conversation_is_rendered_once() -> None:
    assert not checks.rendered([1, 5, 6], 1, 3).fault
    assert not checks.rendered([5, 5, 6], None, 3).fault
    assert "two BOS tokens" in checks.rendered([1, 1, 6], 1, 3).fault
    assert "3 tokens here and 7 at the endpoint" in checks.rendered([1, 5, 6], 1, 7).fault


def test_no_mark_of_a_template_is_in_a_reply() -> None:
    assert not checks.clean("Blue [1].", ["<|x|>", ""]).fault
    assert "'<|x|>'" in checks.clean("Blue<|x|>", ["<|x|>"]).fault
    assert "'[/INST]'" in checks.clean("[/INST] Blue", []).fault
