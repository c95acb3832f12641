"""How much the gate lets one key ask for."""

from collections.abc import Callable
from pathlib import Path

from gated import HELLO, Behind, Site

from serving import keys
from serving.asked import CHAT, COMPLETIONS


def test_requests_are_counted_for_each_key(site: Callable[..., Site], behind: Behind, key_file: Path, ann: str) -> None:
    bob = f"Bearer {keys.create(key_file, 'bob')}"
    here = site(keys=key_file, requests_per_minute=2)
    assert [here.post(COMPLETIONS, HELLO, authorization=ann).status for _ in range(3)] == [200, 200, 429]
    assert here.get("/v1/models", authorization=ann).status == 429
    assert here.post(COMPLETIONS, HELLO, authorization=bob).status == 200
    refused = here.post(COMPLETIONS, HELLO, authorization=ann)
    assert (refused.error["code"], refused.headers["retry-after"]) == ("rate_limit_exceeded", "30")
    behind.now += 30
    assert here.post(COMPLETIONS, HELLO, authorization=ann).status == 200


def test_without_keys_all_share_the_limits(site: Callable[..., Site]) -> None:
    here = site(requests_per_minute=1)
    assert [here.post(COMPLETIONS, HELLO).status for _ in range(2)] == [200, 429]


def test_tokens_are_counted_before_and_set_right_by_the_usage_after(site: Callable[..., Site], behind: Behind) -> None:
    here = site(tokens_per_minute=100)
    large = {**HELLO, "max_tokens": 60}
    assert [here.post(COMPLETIONS, large).status for _ in range(3)] == [200, 200, 200]  # 5 each, it turns out
    assert [visit.tokens for visit in behind.visits] == [5, 5, 5]
    most = {**HELLO, "max_tokens": 78}  # and 19 or 20 for the body itself: no 85 are left
    refused = here.post(COMPLETIONS, most)
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert 0 < int(refused.headers["retry-after"]) <= 60


def test_a_request_that_no_minute_could_hold_is_not_told_to_wait(site: Callable[..., Site]) -> None:
    answer = site(tokens_per_minute=100).post(COMPLETIONS, {**HELLO, "max_tokens": 101})
    assert answer.status == 400
    assert "100 are let through in a minute" in answer.error["message"]


def test_a_refused_request_costs_no_tokens(site: Callable[..., Site], behind: Behind) -> None:
    here = site(tokens_per_minute=100)
    assert [here.post(COMPLETIONS, {**HELLO, "prompt": "unfit", "max_tokens": 60}).status for _ in range(3)] == [
        400
    ] * 3
    assert [visit.tokens for visit in behind.visits] == [0, 0, 0]


def test_max_tokens_above_the_limit_is_refused_in_words(site: Callable[..., Site], behind: Behind) -> None:
    here = site(tokens_per_request=50)
    answer = here.post(COMPLETIONS, {**HELLO, "max_tokens": 10**6})
    assert answer.status == 400
    assert "1000000 tokens are asked for in all; at most 50 here" in answer.error["message"]
    chat = {"model": "student", "messages": []}
    assert here.post(CHAT, chat).status == 200
    assert behind.asked == [{**chat, "max_tokens": 50}]
