"""`tutelage keys`, and what `tutelage serve` refuses before it starts anything."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def keys(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`tutelage keys`, with a home of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return lambda *arguments: cli("keys", *arguments)


def test_a_key_is_shown_once_listed_by_name_and_revoked(keys: Cli, tmp_path: Path) -> None:
    made = keys("create", "ann")
    assert made.returncode == 0, made.stderr
    (key,) = made.stdout.split()
    assert key.startswith("tut-")
    assert (tmp_path / "config" / "tutelage" / "keys.json").exists()
    listed = keys("list").stdout
    assert "ann" in listed
    assert "live" in listed
    assert keys("revoke", "ann").returncode == 0
    assert "revoked 2" in keys("list").stdout
    again = keys("revoke", "ann")
    assert again.returncode == 2
    assert key not in listed + again.stderr


def test_keys_can_lie_elsewhere_behind_a_link_too(keys: Cli, tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    assert keys("create", "bob", "--keys", "link.json").returncode == 0
    assert (tmp_path / "link.json").is_symlink()
    assert "bob" in keys("list", "--keys", "real.json").stdout
    missing = keys("list")
    assert missing.returncode == 2
    assert "tutelage keys create NAME" in missing.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "make one with `tutelage keys create NAME`"),
        (["--host", "everywhere"], "not an IPv4 address"),
        (["--keys", "none.json"], "none.json"),
        (["--requests-per-minute", "0"], "--requests-per-minute"),
        (["--probe", "--model", "student"], "which --probe is not"),
        (["--probe", "--config", "serve.yaml"], "which --probe is not"),
    ],
)
def test_serving_is_refused_before_anything_starts(keys: Cli, cli: Cli, options: list[str], words: str) -> None:
    shown = cli("serve", "quickstart", *options)
    assert shown.returncode == 2
    assert words in shown.stderr
    assert "starting" not in shown.stdout


def test_with_a_key_it_is_only_the_run_that_is_missing(keys: Cli, cli: Cli) -> None:
    assert keys("create", "ann").returncode == 0
    shown = cli("serve", "nothing", "--host", "0.0.0.0", "--tokens-per-minute", "1000")
    assert shown.returncode == 2
    assert "nothing" in shown.stderr
    assert "there is no key" not in shown.stderr
