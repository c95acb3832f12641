"""What goes through the gate, as Prometheus metrics on the port where Ray exports its own.

Knows Ray's metrics. Runs in the process that serves.
"""

from ray.serve.metrics import Counter, Histogram

from serving.gate import Visit

BOUNDARIES_S = [0.1, 0.3, 1, 3, 10, 30, 100, 300]


class Counters:
    """Requests, tokens and seconds by model and key's name. Names that are not known are "", so that there are few."""

    def __init__(self) -> None:
        of = ("model", "key")
        self._requests = Counter("tutelage_requests", "Requests that were answered or refused.", (*of, "status"))
        self._tokens = Counter("tutelage_tokens", "Tokens read and written.", of)
        self._seconds = Histogram("tutelage_seconds", "From a request's head to its answer's end.", BOUNDARIES_S, of)

    def __call__(self, visit: Visit) -> None:
        of = {"model": visit.model, "key": visit.key}
        self._requests.inc(1, {**of, "status": str(visit.status)})
        if visit.tokens:
            self._tokens.inc(visit.tokens, of)
        self._seconds.observe(visit.seconds, of)
