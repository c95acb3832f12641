"""What the tests of clients share: an API in a thread."""

from collections.abc import Iterator

import pytest
from api_server import ApiServer


@pytest.fixture
def server() -> Iterator[ApiServer]:
    running = ApiServer()
    yield running
    running.close()
