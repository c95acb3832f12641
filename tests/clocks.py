"""A machine whose clock is wrong.

Knows the standard library's clocks. What tells how much time has passed (`time.monotonic`) goes as ever.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def clock(hours: float) -> Iterator[None]:
    """All that is told here of the time of day is so many hours too late."""
    right, utc, local, words = time.time, time.gmtime, time.localtime, time.strftime

    def now() -> float:
        return right() + 3600 * hours

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", now)
        patch.setattr(time, "gmtime", lambda at=None: utc(now() if at is None else at))
        patch.setattr(time, "localtime", lambda at=None: local(now() if at is None else at))
        patch.setattr(time, "strftime", lambda form, at=None: words(form, local(now()) if at is None else at))
        yield
