"""How much a client may ask for: what is in its buckets, which fill again with time.

Knows a clock and units. Does not know requests, nor the web. One process, one event loop: nothing is locked, and two
replicas would each let as much through.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]


@dataclass(frozen=True)
class Limits:
    """Of one client, or of all together where there are no keys. None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_request: int | None = None  # that may be written for it
    body_bytes: int = 8 * 2**20
    body_s: float = 60.0  # in which all of a request has come


class Bucket:
    """So many a minute: full at first, and never fuller. What was used beyond that is a debt."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self.size = per_minute
        self._clock, self._left, self._at = clock, float(per_minute), clock()

    def take(self, units: float) -> float:
        """0 where they are taken; else none are, and these are the seconds until they are there."""
        now = self._clock()
        self._left = min(self.size, self._left + (now - self._at) * self.size / 60)
        self._at = now
        if units > self._left:
            return (units - self._left) * 60 / self.size
        self._left -= units
        return 0.0

    def give_back(self, units: float) -> None:
        """Taken and not used; fewer than none where more was used than taken."""
        self._left += units


class Allowance:
    """What one client has left."""

    def __init__(self, limits: Limits, clock: Clock = time.monotonic) -> None:
        self._requests = Bucket(limits.requests_per_minute, clock) if limits.requests_per_minute else None
        self._tokens = Bucket(limits.tokens_per_minute, clock) if limits.tokens_per_minute else None

    def request(self) -> float:
        """Take one request; else the seconds to wait."""
        return self._requests.take(1) if self._requests else 0.0

    def tokens(self, count: int) -> float:
        """Take these tokens; else the seconds to wait."""
        return self._tokens.take(count) if self._tokens else 0.0

    def settle(self, taken: int, used: int) -> None:
        """Once it is known how many tokens were used."""
        if self._tokens:
            self._tokens.give_back(taken - used)
