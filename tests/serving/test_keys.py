"""Keys on disk: what is kept of them, who is let in, and what no damage to the file can open."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.core.errors import UserError
from serving import keys
from serving.keys import LiveKeys


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "keys.json"


def test_a_key_is_long_random_and_not_kept(file: Path) -> None:
    first, second = keys.create(file, "ann"), keys.create(file, "bob")
    assert first != second
    for key in (first, second):
        assert key.startswith("tut-")
        assert len(key) == len("tut-") + 43  # 256 bits in letters of six
        assert key.removeprefix("tut-") not in file.read_text()


def test_the_file_is_its_owners_alone_and_nothing_else_is_left(file: Path) -> None:
    keys.create(file, "ann")
    keys.revoke(file, "ann")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) & 0o077 == 0
    assert {found.name for found in file.parent.iterdir()} == {"keys.json", ".keys.json.lock"}


def test_a_key_lets_its_owner_in_until_it_is_revoked(file: Path) -> None:
    ann, bob = keys.create(file, "ann"), keys.create(file, "bob")
    live = LiveKeys(file)
    assert live.name_of(ann.encode()) == "ann"
    assert live.name_of(bob.encode()) == "bob"
    keys.revoke(file, "ann")
    assert live.name_of(ann.encode()) is None
    assert live.name_of(bob.encode()) == "bob"
    carol = keys.create(file, "carol")
    assert live.name_of(carol.encode()) == "carol"


@pytest.mark.parametrize("presented", [b"", b"tut-", b"\xff\xfe", b"ann"])
def test_what_is_no_key_is_nobodys(file: Path, presented: bytes) -> None:
    keys.create(file, "ann")
    assert LiveKeys(file).name_of(presented) is None


def test_neither_the_kept_digest_nor_a_part_or_another_case_of_a_key_lets_in(file: Path) -> None:
    key = keys.create(file, "ann")
    live = LiveKeys(file)
    for presented in (json.loads(file.read_text())["keys"][0]["sha256"], key[:-1], key + "a", key.swapcase(), key[4:]):
        assert live.name_of(presented.encode()) is None


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        '{"keys": 3}',
        '{"keys": [{"name": "ann"}]}',
        '{"keys": [{"name": "a", "sha256": "", "made": ""}]}',
    ],
)
def test_a_damaged_file_lets_nobody_in_and_a_mended_one_does(file: Path, damage: str) -> None:
    key = keys.create(file, "ann")
    whole, live = file.read_text(), LiveKeys(file)
    assert live.name_of(key.encode()) == "ann"
    file.write_text(damage)
    for _ in range(2):
        with pytest.raises(UserError, match="not a file of keys"):
            live.name_of(key.encode())
    file.write_text(whole)
    assert live.name_of(key.encode()) == "ann"


def test_a_file_that_vanishes_lets_nobody_in(file: Path) -> None:
    key = keys.create(file, "ann")
    live = LiveKeys(file)
    assert live.name_of(key.encode()) == "ann"
    away = file.rename(file.with_name("away.json"))
    with pytest.raises(UserError, match="cannot be read"):
        live.name_of(key.encode())
    away.rename(file)
    assert live.name_of(key.encode()) == "ann"


def test_a_name_has_one_live_key_and_can_have_another_after_it(file: Path) -> None:
    old = keys.create(file, "ann")
    with pytest.raises(UserError, match="'ann' has a key already; revoke it first"):
        keys.create(file, "ann")
    keys.revoke(file, "ann")
    with pytest.raises(UserError, match="no key that is not revoked"):
        keys.revoke(file, "ann")
    new = keys.create(file, "ann")
    live = LiveKeys(file)
    assert (live.name_of(old.encode()), live.name_of(new.encode())) == (None, "ann")
    assert [key.is_live for key in keys.read(file)] == [False, True]


@pytest.mark.parametrize("name", ["", "a b", "-a", "a\n", "\x1b[2J", "a" * 65, "é"])
def test_a_name_that_could_spoil_a_table_or_a_metric_is_refused(file: Path, name: str) -> None:
    with pytest.raises(UserError, match="a key's name is"):
        keys.create(file, name)
    assert not file.exists()


def test_whoever_writes_at_once_loses_nothing(file: Path) -> None:
    names = [f"client-{n}" for n in range(24)]
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda name: keys.create(file, name), names))
    live = LiveKeys(file)
    assert [live.name_of(key.encode()) for key in made] == names


def test_keys_that_are_not_there_are_told_with_what_to_do(file: Path) -> None:
    for asked in (lambda: keys.read(file), lambda: keys.revoke(file, "ann")):
        with pytest.raises(UserError, match="make one with `tutelage keys create NAME --keys"):
            asked()
    assert not file.parent.exists()


def test_the_usual_place_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert keys.default_file() == tmp_path / "tutelage" / "keys.json"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert keys.default_file() == tmp_path / "home" / ".config" / "tutelage" / "keys.json"
