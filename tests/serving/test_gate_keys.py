"""Who comes through the gate: those with a key, and no web page of others."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gated import HELLO, Behind, Site, scope
from starlette.types import Message

from serving import keys
from serving.asked import COMPLETIONS


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", [COMPLETIONS, "/v1/models", "/", "/docs", "/nowhere", "/health/", "/v1/../health"])
def test_with_keys_nothing_is_told_without_one(
    site: Callable[..., Site], behind: Behind, key_file: Path, ann: str, method: str, path: str
) -> None:
    answer = site(keys=key_file).ask(method, path, [b"{}"], {})
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert not behind.asked
    assert not behind.headers


def test_with_a_key_one_comes_in_and_the_key_goes_no_further(
    site: Callable[..., Site], behind: Behind, key_file: Path, ann: str
) -> None:
    here = site(keys=key_file)
    assert here.post(COMPLETIONS, HELLO, authorization=ann).status == 200
    assert here.post(COMPLETIONS, HELLO, authorization=ann.replace("Bearer", "bearer")).status == 200
    assert here.get("/v1/models", authorization=ann).status == 200
    assert behind.asked == [HELLO, HELLO]
    assert len(behind.headers) == 3
    assert all("authorization" not in headers for headers in behind.headers)


@pytest.mark.parametrize(
    "spoilt", ["{0}", "Basic {0}", "Bearer {0}x", "Bearer", "Bearer ", "Bearer \xff", "Bearer tut-"]
)
def test_a_key_that_is_not_right_is_refused_and_not_repeated(
    site: Callable[..., Site], behind: Behind, key_file: Path, ann: str, spoilt: str
) -> None:
    key = ann.removeprefix("Bearer ")
    answer = site(keys=key_file).post(COMPLETIONS, HELLO, authorization=spoilt.format(key))
    assert answer.status == 401
    assert key not in answer.text
    assert not behind.asked


def test_a_revoked_key_stops_at_once(site: Callable[..., Site], key_file: Path, ann: str) -> None:
    here = site(keys=key_file)
    assert here.post(COMPLETIONS, HELLO, authorization=ann).status == 200
    keys.revoke(key_file, "ann")
    assert here.post(COMPLETIONS, HELLO, authorization=ann).status == 401


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_text("{}")])
def test_without_a_file_that_can_be_read_nobody_comes_in(
    site: Callable[..., Site], key_file: Path, ann: str, damage: Callable[[Path], Any]
) -> None:
    here = site(keys=key_file)
    assert here.post(COMPLETIONS, HELLO, authorization=ann).status == 200
    damage(key_file)
    for headers in ({"authorization": ann}, {}):
        answer = here.post(COMPLETIONS, HELLO, **headers)
        assert (answer.status, answer.error["code"]) == (503, "no_keys")
        assert str(key_file) not in answer.text
    assert here.get("/health").status == 200


def test_health_needs_no_key_and_is_no_visit(
    site: Callable[..., Site], behind: Behind, key_file: Path, ann: str
) -> None:
    assert site(keys=key_file, requests_per_minute=1).get("/health").text == '"alive"'
    assert not behind.visits


def test_a_socket_is_closed(site: Callable[..., Site]) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(site().app({**scope("GET", COMPLETIONS, {}), "type": "websocket"}, lambda: None, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:9000", "http://[", "127.0.0.1:8123"]
)
def test_another_sites_page_is_refused(site: Callable[..., Site], behind: Behind, origin: str) -> None:
    answer = site().post(COMPLETIONS, HELLO, origin=origin, content_type="text/plain")
    assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")
    assert not behind.asked


def test_a_page_of_its_own_is_answered(site: Callable[..., Site]) -> None:
    assert site().post(COMPLETIONS, HELLO, origin="http://127.0.0.1:8123").status == 200
    assert site().post(COMPLETIONS, HELLO, host="LocalHost:8123", origin="http://localhost:8123").status == 200


def test_no_page_is_told_that_it_may_read(site: Callable[..., Site]) -> None:
    foreign = {"origin": "https://evil.example", "access_control_request_method": "POST"}
    answers = [site().get("/v1/models", **foreign), site().ask("OPTIONS", COMPLETIONS, [b""], foreign)]
    assert [answer.status for answer in answers] == [200, 403]
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "host", ["evil.example:8123", "localhost.evil.example", "10.0.0.5:8123", "", "[", "127.0.0.1@x"]
)
def test_without_keys_a_name_that_anyone_could_own_is_not_answered(
    site: Callable[..., Site], behind: Behind, host: str
) -> None:
    """A page can give its name this machine's address; then it is of the same origin."""
    answer = site().post(COMPLETIONS, HELLO, host=host, origin=f"http://{host}")
    assert (answer.status, answer.error["code"]) == (403, "host_not_allowed")
    assert site().get("/v1/models", host=host).status == 403
    assert not behind.asked


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8123", "localhost:1", "[::1]:8123", "[::1]", "127.8.8.8:1"])
def test_without_keys_this_machine_is_answered(site: Callable[..., Site], host: str) -> None:
    assert site().post(COMPLETIONS, HELLO, host=host).status == 200


def test_with_keys_any_name_is_answered(site: Callable[..., Site], key_file: Path, ann: str) -> None:
    here = site(keys=key_file)
    assert here.post(COMPLETIONS, HELLO, host="models.example", authorization=ann).status == 200
