"""What the tests of clients share: an API in a thread, a browser before a page that is served for real, and a gate."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from gated import Behind, Site

from serving import keys
from serving.door import Door
from serving.limits import Limits

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
REFUSAL = "Failed to load resource: the server responded with a status of 4"  # Chromium notes each of its own accord


@pytest.fixture
def server() -> Iterator[ApiServer]:
    running = ApiServer()
    yield running
    running.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if executable is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=QUIET)
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """open_page(url, **how the window is). At the end nothing may have failed in any of them, or been forbidden."""
    contexts, wrong = [], []

    def opened(url: str, **window: Any) -> Any:
        contexts.append(browser.new_context(**window))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}") or dialog.dismiss())
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [words for words in wrong if not words.startswith(REFUSAL)] == []


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def site(behind: Behind) -> Callable[..., Site]:
    """site(**limits) without keys; site(keys=FILE) with them."""

    def make(*, keys: Path | None = None, **limits: Any) -> Site:
        return Site(behind, Door(keys=keys, limits=Limits(**limits)))

    return make


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def ann(key_file: Path) -> str:
    """The header of one who has a key."""
    return f"Bearer {keys.create(key_file, 'ann')}"
