"""So many a minute, evenly. Knows a clock; does not wait itself, but says how long to wait."""

import time
from collections.abc import Callable


class Pace:
    """Requests or tokens per minute. Whoever comes first goes first; one event loop, so nothing is locked."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds_each, self._clock = 60 / per_minute, clock
        self._free_at = clock()  # when the next may go

    def wait_for(self, units: float) -> float:
        """Take these units; the seconds to wait before they may be used."""
        now = self._clock()
        start = max(self._free_at, now)
        self._free_at = start + units * self._seconds_each
        return start - now

    def give_back(self, units: float) -> None:
        """Units that were taken and not used."""
        self._free_at -= units * self._seconds_each
