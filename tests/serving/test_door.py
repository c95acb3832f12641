"""Who can be let in where: never another machine without a key."""

from pathlib import Path

import pytest

from pipelines.core.errors import UserError
from serving import keys
from serving.door import EVERY, HOST, Door, is_loopback, opened
from serving.limits import Limits


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_without_a_key_this_machine_alone_comes_in() -> None:
    door = opened(HOST, None, Limits())
    assert door == Door()
    assert door.words == "this machine only; no key"


@pytest.mark.parametrize("host", [EVERY, "10.0.0.5"])
def test_without_a_key_no_other_machine_is_let_in(host: str) -> None:
    with pytest.raises(UserError, match="make one with `tutelage keys create NAME`, or leave --host away"):
        opened(host, None, Limits())
    keys.create(keys.default_file(), "ann")
    keys.revoke(keys.default_file(), "ann")
    with pytest.raises(UserError, match="there is no key yet"):
        opened(host, None, Limits())


def test_with_a_key_others_can_be_let_in() -> None:
    keys.create(keys.default_file(), "ann")
    door = opened(EVERY, None, Limits(5))
    assert (door.host, door.keys, door.limits.requests_per_minute) == (EVERY, keys.default_file(), 5)
    assert door.reached_at == HOST
    assert door.words == "listens on 0.0.0.0; clients need a key"
    assert opened(HOST, None, Limits()).words == "this machine only; clients need a key"


def test_a_file_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there are no keys in .*other\.json"):
        opened(HOST, tmp_path / "other.json", Limits())
    keys.create(tmp_path / "other.json", "ann")
    assert opened(HOST, tmp_path / "other.json", Limits()).keys == tmp_path / "other.json"


def test_a_damaged_file_is_not_taken_for_none() -> None:
    keys.create(keys.default_file(), "ann")
    keys.default_file().write_text("{")
    with pytest.raises(UserError, match="not a file of keys"):
        opened(HOST, None, Limits())


@pytest.mark.parametrize("host", ["localhost", "::1", "", "256.0.0.1", "example.com"])
def test_a_host_is_an_address(host: str) -> None:
    with pytest.raises(UserError, match="not an IPv4 address of this machine"):
        opened(host, None, Limits())


def test_only_names_that_nobody_can_own_mean_this_machine() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")] == [True] * 4
    assert not any(is_loopback(host) for host in ("", "0.0.0.0", "10.0.0.1", "localhost.example", "127.0.0.1.example"))
