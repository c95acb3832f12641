"""A small Ray actor between workers and the driver: workers tell what they did, the driver reads and may say stop.

Knows nothing of what is told.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Board:
    """Lives in its own actor. Messages are kept in order until the driver takes them."""

    def __init__(self) -> None:
        self._told: list[Any] = []
        self._stop = False

    def tell(self, message: Any) -> bool:
        """Called by a worker; answers whether it should stop."""
        self._told.append(message)
        return self._stop

    def take(self) -> list[Any]:
        told, self._told = self._told, []
        return told

    def stop(self) -> None:
        self._stop = True


class Watch:
    """Takes messages off a board while the driver waits for something else.

    A context manager. `on_message` runs in a thread; the first exception it raises stops the workers, and is raised
    at the end unless the body failed for a reason of its own.
    """

    def __init__(self, on_message: Callable[[Any], None], every_s: float = 0.5) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # Ray would put it on any node, and with that node the workers on all others would lose it.
        beside_driver = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.board = ray.remote(num_cpus=0, scheduling_strategy=beside_driver)(Board).remote()
        self._on_message, self._every = on_message, every_s
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Take the last messages and end."""
        import ray

        self._over.set()
        self._thread.join()
        self._take()
        ray.kill(self.board)
        if kind is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self._take()

    def _take(self) -> None:
        import ray
        from ray.exceptions import RayError

        with suppress(RayError):  # the session is going down; whoever waits for the workers will say so
            for message in ray.get(self.board.take.remote()):
                try:
                    self._on_message(message)
                except Exception as error:  # noqa: BLE001 - raised in the driver's thread by __exit__
                    if self._error is None:
                        self._error = error
                        ray.get(self.board.stop.remote())
