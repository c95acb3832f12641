"""A tiny model behind the stock ingress and the gate: what clients get with a key, without one, and in bad faith."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from cluster.session import session
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Engine
from serving import keys
from serving.api import Address, Api
from serving.client import ServedModel
from serving.door import Door
from serving.endpoints import Endpoints, held_port
from serving.limits import Limits
from serving.served import Served

pytestmark = pytest.mark.engine

WINDOW = 512  # the model's own
MOST = 400
ASKED = {"model": "tiny", "prompt": "Describe the bread.", "max_tokens": 8, "temperature": 0}
ENDLESS = {"ignore_eos": True}


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def key(key_file: Path) -> str:
    return keys.create(key_file, "ann")


@pytest.fixture(scope="module")
def base_url(tiny_served: Path, key_file: Path, key: str) -> Iterator[str]:
    with session() as live, held_port(None) as port:
        door = Door(keys=key_file, limits=Limits(tokens_per_request=MOST, body_s=5.0))
        endpoints = Endpoints(live, port, door)
        engine = Engine(dtype="float32", max_model_len=WINDOW, max_num_seqs=1, enforce_eager=True)
        yield endpoints.up([Served("tiny", tiny_served, "d", engine, is_chooser=True)], at_root=True)
        endpoints.close()


@pytest.fixture(scope="module")
def client(base_url: str, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def plain(base_url: str, key: str) -> Iterator[httpx2.Client]:
    """Without the manners of the client above."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with httpx2.Client(base_url=base_url, headers=headers, timeout=120) as client:
        yield client


def test_with_a_key_models_are_listed_and_answer(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    by_text = client.completions.create(**ASKED)
    assert by_text.usage is not None
    assert by_text.usage.completion_tokens <= 8
    talk: Any = [{"role": "user", "content": "Describe the bread."}]
    chat = client.chat.completions.create(model="tiny", messages=talk, max_tokens=8, temperature=0)
    assert chat.choices[0].message.role == "assistant"


def test_tokens_that_it_is_made_to_write_are_as_likely_as_where_they_are_read(
    base_url: str, key: str, tiny_served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_KEY", key)
    tokenizer = ChatTokenizer(str(tiny_served))
    asked = tokenizer.encode("Describe the bread near the river before winter. " * 5)
    options = [
        [*tokenizer.encode(text), tokenizer.eos_id] for text in ("an old bridge", "the", "a letter, then a list")
    ]

    async def both() -> list[tuple[list[float], list[float]]]:
        async with Api(Address(base_url, "tiny", "TINY_KEY")) as api:
            model = ServedModel(api, "tiny", tokenizer)
            written = await asyncio.gather(*(model.continued(asked, option) for option in options))
            read = [await model.logprobs([*asked, *option]) for option in options]
        return [(ours, theirs[len(asked) :]) for ours, theirs in zip(written, read, strict=True)]

    for written, read in asyncio.run(both()):
        assert written == pytest.approx(read, abs=1e-4)
        assert len(set(written)) == len(written), "each token has its own"


@pytest.mark.parametrize(
    ("ids", "words"), [([1, 2, 3], "has 3 ids, and max_tokens is 2"), ("1", "a list of token ids"), ([1, -2], "a list")]
)
def test_what_cannot_be_written_is_refused(plain: httpx2.Client, ids: Any, words: str) -> None:
    body = {**ASKED, "max_tokens": 2, "vllm_xargs": {"forced_tokens": ids}}
    refused = plain.post("/completions", json=body)
    assert (refused.status_code, words in refused.text) == (400, True), refused.text


def test_an_id_that_the_model_does_not_have_is_not_written(client: openai.OpenAI) -> None:
    asked = {"vllm_xargs": {"forced_tokens": [10**6, 5]}, "return_token_ids": True, **ENDLESS}
    (choice,) = client.completions.create(**{**ASKED, "max_tokens": 2}, extra_body=asked).choices
    written: Any = choice.model_dump()["token_ids"]
    assert written[0] < 10**6
    assert written[1] == 5


def test_a_stream_comes_bit_by_bit(client: openai.OpenAI) -> None:
    began = time.monotonic()
    stream = client.completions.create(**{**ASKED, "max_tokens": 300}, stream=True, extra_body=ENDLESS)
    came = [time.monotonic() - began for _ in stream]
    assert len(came) > 10
    assert came[0] < 0.5 * came[-1]


def test_a_chat_without_a_bound_is_bounded(client: openai.OpenAI) -> None:
    talk: Any = [{"role": "user", "content": "Bread?"}]
    answer = client.chat.completions.create(model="tiny", messages=talk, extra_body=ENDLESS)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == MOST


@pytest.mark.parametrize("wrong", ["tut-" + "A" * 43, "another"])
def test_without_the_right_key_nothing_is_told(base_url: str, wrong: str) -> None:
    with openai.OpenAI(base_url=base_url, api_key=wrong, max_retries=0) as client:
        for ask in (lambda: client.completions.create(**ASKED), lambda: client.models.list()):
            with pytest.raises(openai.AuthenticationError) as refused:
                ask()
            assert refused.value.code == "invalid_api_key"
            assert wrong not in str(refused.value)
    root = base_url.removesuffix("/v1")
    for path in ("/v1/models", "/docs", "/openapi.json", "/page/nothing", "/v1/run/answers", "/nowhere", "/metrics"):
        assert httpx2.get(root + path).status_code == 401


def test_the_page_is_there_for_everyone(base_url: str) -> None:
    root = base_url.removesuffix("/v1")
    for path in ("/", "/page/main.js"):
        page = httpx2.get(root + path)
        assert (page.status_code, page.headers["x-content-type-options"]) == (200, "nosniff")


def test_a_chat_streams_what_the_page_reads(client: openai.OpenAI) -> None:
    """The shape that `tests/serving/page_server.py` has by heart."""
    stream = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "Describe the bread."}],
        max_tokens=8,
        temperature=0.7,
        stream=True,
        stream_options={"include_usage": True},
        logprobs=True,
        extra_body=ENDLESS,
    )
    first, *chunks, last = list(stream)
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 8
    told = [chunk.choices[0].logprobs for chunk in chunks]
    tokens = [token for each in told if each for token in each.content or ()]
    assert len(tokens) == 8
    assert all(token.logprob <= 0 for token in tokens)
    assert chunks[-1].choices[0].finish_reason == "length"


def test_health_is_told_to_everyone(base_url: str) -> None:
    root = base_url.removesuffix("/v1")
    assert httpx2.get(f"{root}/health").json() == {"status": "alive"}
    ready = httpx2.get(f"{root}/ready")
    assert (ready.status_code, ready.json()) == (200, {"status": "running"})


def test_a_revoked_key_stops_on_the_running_server(base_url: str, key_file: Path) -> None:
    bob = keys.create(key_file, "bob")
    with openai.OpenAI(base_url=base_url, api_key=bob, max_retries=0) as client:
        assert client.completions.create(**ASKED).choices
        keys.revoke(key_file, "bob")
        with pytest.raises(openai.AuthenticationError):
            client.completions.create(**ASKED)


def test_another_model_is_refused_with_those_that_there_are(client: openai.OpenAI) -> None:
    for name in ("huge", "tiny:adapter"):
        with pytest.raises(openai.NotFoundError, match="there is tiny"):
            client.completions.create(**{**ASKED, "model": name})
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("huge")


def test_more_tokens_than_allowed_are_refused_in_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=f"1000000 tokens are asked for in all; at most {MOST} here"):
        client.completions.create(**{**ASKED, "max_tokens": 10**6})


def test_a_prompt_of_ten_megabytes_is_refused_and_the_next_one_answered(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError, match="the body is larger than") as refused:
        client.completions.create(**{**ASKED, "prompt": "bread " * (10 * 2**20 // 6)})
    assert refused.value.status_code == 413
    assert client.completions.create(**ASKED).choices


def test_a_prompt_beyond_the_window_is_refused_in_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=str(WINDOW)):
        client.completions.create(**{**ASKED, "prompt": "bread " * 2 * WINDOW})


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("completions", b'{"model": "tiny", "prompt": "\xff secret"}', 400, "not UTF-8"),
        ("completions", b'{"model": "tiny", "prompt": secret', 400, "not JSON"),
        ("completions", b'["secret"]', 400, "not a JSON object"),
        ("completions", b'{"model": "tiny", "prompt": "a", "temperature": "secret"}', 400, "temperature"),
        ("chat/completions", b'{"model": "tiny", "messages": "secret"}', 400, "messages"),
        (
            "chat/completions",
            b'{"model": "tiny", "messages": [{"role": "user", "content": [{"type": "secret"}]}]}',
            400,
            "neither a text nor a list of content parts",
        ),
        ("nowhere", b"{}", 404, "Not Found"),
        ("audio/transcriptions", b"{}", 404, "Not Found"),
    ],
)
def test_what_cannot_be_met_is_refused_in_openais_shape(
    plain: httpx2.Client, path: str, body: bytes, status: int, words: str
) -> None:
    refused = plain.post(f"/{path}", content=body)
    assert refused.status_code == status
    assert words in refused.json()["error"]["message"]
    assert "secret" not in refused.text
    assert plain.post("/completions", content=json.dumps(ASKED).encode()).status_code == 200


def test_a_web_page_is_refused_and_told_nothing(plain: httpx2.Client, base_url: str) -> None:
    body, origin = json.dumps(ASKED).encode(), {"Origin": "https://evil.example"}
    refused = plain.post("/completions", content=body, headers=origin)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "origin_not_allowed")
    asked_before = plain.options("/completions", headers={**origin, "Access-Control-Request-Method": "POST"})
    listed = plain.get("/models", headers=origin)
    assert (asked_before.status_code, listed.status_code) == (403, 200)
    for answer in (refused, asked_before, listed):
        assert not [name for name in answer.headers if name.startswith("access-control")]
    own = {"Origin": base_url.removesuffix("/v1")}
    assert plain.post("/completions", content=body, headers=own).status_code == 200


def connected(base_url: str) -> socket.socket:
    address = httpx2.URL(base_url)
    return socket.create_connection((address.host, address.port or 80), timeout=30)


def test_a_body_that_never_comes_ends_the_connection(base_url: str, key: str) -> None:
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: 50\r\n\r\n"
    with connected(base_url) as slow:
        slow.sendall(head.encode() + b"{")
        told = b""
        while piece := slow.recv(4096):
            told += piece
    assert told.startswith(b"HTTP/1.1 408")
    assert b'"body_timeout"' in told


def test_a_body_that_does_not_end_is_refused(base_url: str, key: str) -> None:
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with connected(base_url) as endless:
        endless.sendall(head.encode())
        for _ in range(Limits().body_bytes // 0x10000 + 2):
            endless.sendall(piece)
        assert endless.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_client_that_leaves_ends_its_request_in_the_engine(client: openai.OpenAI) -> None:
    """The engine writes one answer at a time: were those that nobody reads written on, the last would wait for all."""
    long: dict[str, Any] = {**ASKED, "max_tokens": MOST}
    began = time.monotonic()
    client.completions.create(**long, extra_body=ENDLESS)
    whole_s = time.monotonic() - began
    began = time.monotonic()
    for _ in range(10):
        stream = client.completions.create(**long, stream=True, extra_body=ENDLESS)
        next(iter(stream))
        stream.close()
    client.completions.create(**long, extra_body=ENDLESS)
    assert time.monotonic() - began < 5 * whole_s
