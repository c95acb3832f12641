"""What became of each request of a load, by every way in which one can end."""

import asyncio
import json
from typing import Any

import pytest
from api_server import ApiServer, Wire
from typer.testing import CliRunner

from pipelines.cli import app
from serving.load import Got, Load, put, told

USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}}


def piece(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def stream(*events: dict[str, Any], cut: int = 0) -> Wire:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return Wire(
        body="".join([*lines, "data: [DONE]\n\n"]).encode(), headers={"Content-Type": "text/event-stream"}, cut=cut
    )


WHOLE = stream(piece("Bread"), piece(".", "stop"), USAGE)
BROKEN = stream(
    piece("Bread"), {"error": {"message": "the engine died", "type": "server_error", "code": "engine_died"}}
)
REFUSED = Wire(429, json.dumps({"error": {"message": "too many requests a minute"}}).encode())


def load_on(server: ApiServer, requests: int = 1, clients: int = 1) -> Load:
    return Load(server.url, "m", "k", ["Bread?", "Islands?"], requests, clients, max_tokens=8)


@pytest.mark.parametrize(
    ("wire", "outcome", "tokens", "why"),
    [
        (WHOLE, "whole", 5, ""),
        (BROKEN, "broken off", 0, "the engine died"),
        (REFUSED, "refused", 0, "429"),
        (Wire(status=0), "lost", 0, "Connection error"),
        (stream(piece("Bread"), USAGE), "lost", 5, ""),
        (stream(piece("Bread"), cut=9), "lost", 0, ""),
    ],
)
def test_each_way_in_which_a_request_ends(server: ApiServer, wire: Wire, outcome: str, tokens: int, why: str) -> None:
    server.behave = lambda _: wire
    (got,), _ = asyncio.run(put(load_on(server)))
    assert got.outcome == outcome
    assert why in got.why
    assert got.tokens == (5 if wire is WHOLE or (outcome == "lost" and not wire.cut and wire.status) else 0)


def test_so_many_ask_at_once_and_each_prompt_in_turn(server: ApiServer) -> None:
    slow = Wire(WHOLE.status, WHOLE.body, WHOLE.headers, after_s=0.1)
    server.behave = lambda _: slow
    seen: list[Got] = []
    got, seconds = asyncio.run(put(load_on(server, requests=6, clients=3), seen.append))
    assert got == seen
    assert server.most_under_way == 3
    assert seconds >= 0.2
    assert sorted(asked.prompt for asked in server.asked) == ["Bread?"] * 3 + ["Islands?"] * 3
    assert sorted(asked.body["seed"] for asked in server.asked) == list(range(6))


def test_figures_are_those_of_whole_answers() -> None:
    got = [Got("whole", seconds, 0.5, 10) for seconds in (1.0, 2.0, 3.0)]
    figures = told([*got, Got("refused", 9.0, None, 0, "429: too many")], seconds=6.0)
    assert figures["outcomes"] == {"whole": 3, "refused": 1}
    assert figures["tokens_per_s"] == 5.0
    assert figures["first_word_s"] == (0.5, 0.5)
    assert figures["answer_s"] == (2.0, pytest.approx(2.9))
    assert figures["why"] == {"429: too many": 1}
    assert told([], 1.0)["answer_s"] is None


def test_the_command_tells_figures_and_ends_badly_where_a_request_was_lost(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "tut-secret")
    asked = ["load", server.url, "--model", "m", "--requests", "4", "--clients", "2", "--key-env", "MINE"]
    server.behave = lambda _: WHOLE
    good = CliRunner().invoke(app, asked)
    assert good.exit_code == 0
    assert good.output.startswith("4 whole\n")
    assert {one.key for one in server.asked} == {"Bearer tut-secret"}
    assert "tut-secret" not in good.output
    server.then(Wire(status=0))
    bad = CliRunner().invoke(app, [*asked, "--json"])
    assert bad.exit_code == 1
    assert json.loads(bad.output)["outcomes"]["lost"] >= 1
