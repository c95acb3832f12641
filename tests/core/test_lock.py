"""Two drivers on one folder: one works, the other is told who does; what a dead one held is taken over."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import stores
from clocks import clock
from disks import SmallDisk

from pipelines.core import lock
from pipelines.core.errors import UserError
from pipelines.core.lock import Lost, held
from pipelines.core.storage import Folder

NAME = "answers-0123"
HOLDER = """
import sys, time
from pipelines.core import lock
from pipelines.core.storage import Folder
with lock.held(Folder(sys.argv[1]), sys.argv[2], print):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.1)
    monkeypatch.setattr(lock, "LEASE_S", 1.0)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when this is called, this test speaks for another machine."""

    def move() -> None:
        monkeypatch.setattr(lock, "_machine", lambda: "another")

    return move


def claim(runs: Folder) -> lock.Claim:
    return lock._highest(runs.child(lock.LOCKS).child(NAME))[1]


def held_by_another_process(runs: Folder) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLDER, runs.uri, NAME], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_holds_it_since_when_and_what_to_do(any_runs: Folder) -> None:
    with (
        held(any_runs, NAME, print),
        pytest.raises(
            UserError, match=rf"at work in {NAME}: .*@.* \(process {os.getpid()}\) has held it since 2.*Wait"
        ),
        held(any_runs, NAME, print),
    ):
        pass


def test_the_fencing_number_grows_with_each_holder_and_one_file_stays(any_runs: Folder) -> None:
    fences = []
    for _ in range(3):
        with held(any_runs, NAME, print) as mine:
            fences.append(mine.fence)
    assert fences == [1, 2, 3]
    assert len(any_runs.child(lock.LOCKS).child(NAME).files()) == 1


def test_of_many_who_race_one_holds_it_at_a_time(any_runs: Folder) -> None:
    inside, most, done, refused = 0, 0, 0, 0
    count = threading.Lock()
    start = threading.Barrier(6)

    def drive() -> None:
        nonlocal inside, most, done, refused
        start.wait()
        try:
            with held(any_runs, NAME, print):
                with count:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.3)
                with count:
                    inside -= 1
                    done += 1
        except UserError:
            with count:
                refused += 1

    threads = [threading.Thread(target=drive) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done + refused) == (1, 6)
    assert done >= 1
    assert claim(any_runs).released


@pytest.mark.parametrize("error", [RuntimeError("failed"), KeyboardInterrupt()], ids=lambda e: type(e).__name__)
def test_whatever_ends_the_work_gives_it_back(any_runs: Folder, error: BaseException) -> None:
    with pytest.raises(type(error)), held(any_runs, NAME, print):
        raise error
    with held(any_runs, NAME, print) as mine:
        assert mine.fence == 2


def test_what_a_killed_process_of_this_machine_held_is_taken_at_once(any_runs: Folder, object_store: int) -> None:
    holder = held_by_another_process(any_runs)
    with pytest.raises(UserError, match=rf"process {holder.pid}\)"), held(any_runs, NAME, print):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    began = time.monotonic()
    with held(any_runs, NAME, print) as mine:
        assert mine.fence == 2
    assert time.monotonic() - began < lock.BEAT_S


def test_a_holder_on_another_machine_is_heard_and_left_alone(
    any_runs: Folder, quick: None, elsewhere: Callable[[], None]
) -> None:
    said: list[str] = []
    with held(any_runs, NAME, print) as mine:
        elsewhere()
        with pytest.raises(UserError, match="another driver is at work"), held(any_runs, NAME, said.append):
            pass
        mine.confirm()
    assert "waiting up to" in said[0]


def test_a_holder_on_another_machine_that_falls_silent_is_taken_over_and_finds_out(
    any_runs: Folder, quick: None, elsewhere: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock.Lock, "_beat", lambda _: None)  # its machine hangs
    said: list[str] = []
    with held(any_runs, NAME, print) as old:
        old.confirm()
        elsewhere()
        began = time.monotonic()
        with held(any_runs, NAME, said.append) as new:
            assert time.monotonic() - began >= lock.LEASE_S
            assert (old.fence, new.fence) == (1, 2)
            with pytest.raises(Lost, match=r"taken over while this driver was silent: .* has held it"):
                old.confirm()
            with pytest.raises(Lost):
                old.check()
            new.confirm()
    assert said[-1].endswith("silent for 1 s")
    assert claim(any_runs).fence == 2
    assert claim(any_runs).released


@pytest.mark.parametrize("hours", [-7, 7])
def test_clocks_that_differ_rob_nobody_and_let_nobody_wait(
    any_runs: Folder, quick: None, elsewhere: Callable[[], None], hours: int
) -> None:
    with clock(hours), held(any_runs, NAME, print) as mine:
        elsewhere()
        with (
            clock(-2 * hours),
            pytest.raises(UserError, match="another driver is at work"),
            held(any_runs, NAME, print),
        ):
            pass
        mine._over.set()  # its machine hangs
        began = time.monotonic()
        with clock(-2 * hours), held(any_runs, NAME, print) as new:
            assert lock.LEASE_S <= time.monotonic() - began < 3 * lock.LEASE_S
            assert (mine.fence, new.fence) == (1, 2)
            with pytest.raises(Lost):
                mine.confirm()


def test_a_slow_driver_cannot_take_what_has_moved_on(runs: Folder) -> None:
    with held(runs, NAME, print) as mine:
        folder = runs.child(lock.LOCKS).child(NAME)
        number, stale = lock._highest(folder)
        mine.confirm()
        mine.confirm()
        assert not lock._write_next(folder, number, lock.Claim(token="slow", fence=stale.fence + 1))
        mine.confirm()
    assert claim(runs).fence == 1


def test_a_claim_that_was_cut_off_while_written_is_nobodys_and_runs_out(runs: Folder, quick: None) -> None:
    runs.child(lock.LOCKS).child(NAME).write_bytes("000000000001.json", b'{"token": "a')
    with held(runs, NAME, print) as mine:
        mine.confirm()


def test_a_full_disk_loses_no_lock(disk: SmallDisk) -> None:
    runs = Folder(str(disk.path))
    with held(runs, NAME, print) as mine:
        disk.leave(0)
        with pytest.raises(UserError, match=r"No space left.*Make room"):
            mine.confirm()
        mine.check()
        disk.leave(2**16)
        mine.confirm()
    assert claim(runs).released


@pytest.mark.parametrize("trouble", ["503", "lost", "cut"])
def test_a_flaky_network_loses_no_lock(
    object_store: int, tmp_path: Path, trouble: stores.Trouble, elsewhere: Callable[[], None]
) -> None:
    with stores.Flaky(object_store, lambda n, _: trouble if n % 3 == 0 else None) as network:
        runs = Folder(stores.uri(network.port, tmp_path.name))
        for fence in (1, 2):
            with held(runs, NAME, print) as mine:
                for _ in range(3):
                    mine.confirm()
                assert mine.fence == fence
                assert claim(runs).beat >= 3
