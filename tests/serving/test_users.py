"""The last living driver that uses an application ends it. Ray's store and its list of jobs are the test's."""

import pytest
import ray
from ray.experimental import internal_kv

from serving import users

APP = "tutelage-1"


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Drivers that Ray knows alive; it knows the two also when they are not."""
    there = {"first", "second"}
    store: dict[bytes, bytes] = {}

    def kept(prefix: bytes, namespace: bytes) -> list[bytes]:
        return [key for key in store if key.startswith(prefix)]

    monkeypatch.setattr(internal_kv, "_internal_kv_put", lambda key, value, namespace: store.update({key: value}))
    monkeypatch.setattr(internal_kv, "_internal_kv_del", lambda key, namespace: store.pop(key))
    monkeypatch.setattr(internal_kv, "_internal_kv_list", kept)
    jobs = [{"JobID": name} for name in there]
    monkeypatch.setattr(ray._private.state, "jobs", lambda: [j | {"IsDead": j["JobID"] not in there} for j in jobs])
    return there


def use(monkeypatch: pytest.MonkeyPatch, driver: str, app: str = APP) -> None:
    monkeypatch.setattr(users, "_me", lambda: driver)
    users.use(app)


def test_who_leaves_while_another_uses_it_is_not_the_last(alive: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "first")
    use(monkeypatch, "second")
    assert not users.leave(APP)
    monkeypatch.setattr(users, "_me", lambda: "first")
    assert users.leave(APP)


def test_a_driver_that_was_killed_does_not_count(alive: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "first")
    use(monkeypatch, "second")
    alive.remove("first")
    assert users.leave(APP)


def test_who_uses_another_application_does_not_count(alive: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "first", "tutelage-12")
    use(monkeypatch, "second")
    assert users.leave(APP)
