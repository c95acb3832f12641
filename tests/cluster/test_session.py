"""A local cluster that does not come up is told in words. Starts no Ray."""

import pytest
import ray

from cluster.session import session
from pipelines.core.errors import Unreachable


def _fails_with(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise Exception(words)

    monkeypatch.setattr(ray, "init", init)


def test_a_machine_too_busy_to_start_ray_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _fails_with("The current node timed out during startup. This could happen because ...", monkeypatch)
    with pytest.raises(Unreachable, match="very busy"), session():
        pass


def test_what_else_ray_says_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    _fails_with("no space left", monkeypatch)
    with pytest.raises(Exception, match="no space left"), session():
        pass
