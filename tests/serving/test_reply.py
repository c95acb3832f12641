"""What is read of an answer while it passes, however it is cut into pieces."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from serving.reply import Reply

JSON_START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}


def passed(start: dict[str, Any], chunks: Sequence[bytes]) -> tuple[Reply, list[dict[str, Any]]]:
    """The answer, and what the client got."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def everything() -> Reply:
        reply = Reply(send)
        await reply.send(start)
        for n, chunk in enumerate(chunks):
            await reply.send({"type": "http.response.body", "body": chunk, "more_body": n < len(chunks) - 1})
        return reply

    return asyncio.run(everything()), sent


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_the_usage_is_found_across_pieces_and_the_last_one_counts(size: int) -> None:
    said = json.dumps({"text": '"total_tokens": 777', "usage": {"total_tokens": 12}}).encode()
    said += b"data: " + json.dumps({"usage": {"total_tokens": 3456, "prompt_tokens": 1}}).encode()
    chunks = [said[n : n + size] for n in range(0, len(said), size)]
    reply, sent = passed(JSON_START, chunks)
    assert reply.used(5, 100) == 3456
    assert [message.get("body") for message in sent[1:]] == chunks


def test_a_stream_without_usage_costs_its_prompt_and_its_events() -> None:
    reply, _ = passed(JSON_START, [b"data: {}\n\ndata: {}\n\n", b"data: [DONE]\n\n"])
    assert reply.used(5, 100) == 8


def test_an_answer_that_tells_nothing_costs_what_it_could_have() -> None:
    assert passed(JSON_START, [b"{}"])[0].used(5, 100) == 100
    assert Reply(None).used(5, 100) == 100  # type: ignore[arg-type]


def test_an_error_in_plain_text_gets_the_shape_of_the_others() -> None:
    start = {"type": "http.response.start", "status": 503, "headers": [(b"content-type", b"text/plain")]}
    reply, sent = passed(start, [b"not ", b"there"])
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert json.loads(sent[1]["body"])["error"]["message"] == "not there"
    length = dict(sent[0]["headers"])[b"content-length"]
    assert int(length) == len(sent[1]["body"])
    assert reply.used(5, 100) == 0


def test_other_errors_go_through_as_they_are() -> None:
    start = {**JSON_START, "status": 400}
    assert passed(start, [b'{"error": 1}'])[1] == [
        start,
        {"type": "http.response.body", "body": b'{"error": 1}', "more_body": False},
    ]
