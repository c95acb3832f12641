"""One driver for one folder, on disk and on object stores alike.

Knows how a lock is taken, renewed, taken over and given back, by one operation only: writing a file that must not be
there. Does not know what is locked, nor any clock but its own.

A lock is a chain of numbered files, of which the highest tells how things stand: who holds it, the fencing number, the
beat. Whoever changes that writes the next number, and of several who try one succeeds. Only lower numbers than the
highest are removed, so a file that was there once can come back below the highest only, where it means nothing.
"""

import getpass
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.core.errors import Unreachable, UserError
from pipelines.core.storage import Folder

LOCKS = "locks"  # the folder of all locks, in the runs folder
BEAT_S = 15.0  # how often a holder says that it lives
LEASE_S = 120.0  # after so long without a word it may be taken over
_held_here: set[str] = set()  # tokens of this process: one that could not be given back is nobody's


class Lost(Unreachable):
    """The lock is somebody else's by now. What this driver had written is kept, and the other goes on from it."""


@dataclass(frozen=True)
class Claim:
    """How a lock stands. Maker: its holder. Readers: whoever else wants it."""

    token: str = ""  # of one holding
    fence: int = 0  # grows with each holder
    beat: int = 0  # grows with each sign of life
    who: str = "somebody"
    since: str = ""  # by the holder's clock, for people to read
    machine: str = ""  # where `pid` means something; empty where that cannot be said
    pid: int = 0
    born: str = ""  # the process's start, as pids come again
    released: bool = False

    def in_words(self) -> str:
        return f"{self.who} has held it since {self.since or 'an unknown time'}"


class Lock:
    """A lock that is held. It is renewed by a thread of its own until `release`."""

    def __init__(self, folder: Folder, claim: Claim) -> None:
        self._folder, self._claim = folder, claim
        self._turn = threading.Lock()
        self._over = threading.Event()
        self._is_lost = False
        threading.Thread(target=self._beat, name=f"lock of {folder.name}", daemon=True).start()

    @property
    def fence(self) -> int:
        return self._claim.fence

    def check(self) -> None:
        """Raises Lost where a renewal has found that. Asks nobody, so it may be called often."""
        if self._is_lost:
            holder = _highest(self._folder)[1]
            raise Lost(f"{self._folder.name} was taken over while this driver was silent: {holder.in_words()}")

    def confirm(self) -> None:
        """Renew now. When this returns, nobody can take it over for a lease to come. Raises Lost."""
        self._renew()
        self.check()

    def release(self) -> None:
        """Give it back, so that the next one need not wait. The fencing number stays."""
        self._over.set()
        _held_here.discard(self._claim.token)
        if not self._is_lost:
            self._renew(released=True)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S) and not self._is_lost:
            try:
                self._renew()
            except (Unreachable, UserError, OSError):
                continue  # nothing is lost by that: the next beat or the manifest will show

    def _renew(self, released: bool = False) -> None:
        with self._turn:
            number, found = _highest(self._folder)
            if found.token != self._claim.token:
                self._is_lost = True
                return
            # An earlier beat may have been written though its answer never came, so `found` counts.
            claim = replace(found, beat=found.beat + 1, released=released)
            if _write_next(self._folder, number, claim):
                self._claim = claim
            else:
                self._is_lost = True


@contextmanager
def held(runs: Folder, name: str, say: Callable[[str], None]) -> Iterator[Lock]:
    """Hold the lock of `name`. UserError where somebody else does, in words, with what to do."""
    folder = runs.child(LOCKS).child(name)
    lock = _taken(folder, say)
    try:
        yield lock
    finally:
        try:
            lock.release()
        except (Unreachable, UserError, OSError) as error:
            say(f"  the lock of {name} could not be given back ({error}); it runs out in {LEASE_S:.0f} s")


def _taken(folder: Folder, say: Callable[[str], None]) -> Lock:
    number, found = _highest(folder)
    if not (found.released or _is_dead(found)):
        _watch(folder, found, say)
        say(f"  {folder.name} is taken over: {found.in_words()}, and has been silent for {LEASE_S:.0f} s")
    mine = Claim(
        token=uuid.uuid4().hex,
        fence=found.fence + 1,
        who=f"{_user()}@{socket.gethostname()} (process {os.getpid()})",
        since=time.strftime("%Y-%m-%d %H:%M:%S %z"),
        machine=_machine(),
        pid=os.getpid(),
        born=_born(os.getpid()),
    )
    _held_here.add(mine.token)
    if not _write_next(folder, number, mine):
        _held_here.discard(mine.token)
        raise _refusal(folder, _highest(folder)[1])
    return Lock(folder, mine)


def _watch(folder: Folder, found: Claim, say: Callable[[str], None]) -> None:
    """Returns when the lease has passed, on this clock, without a beat. UserError at the first sign of life."""
    if found.machine and found.machine == _machine():
        raise _refusal(folder, found)  # the process is there: `_is_dead` has looked
    say(f"  {folder.name}: {found.in_words()}; waiting up to {LEASE_S:.0f} s for a sign of life")
    began = time.monotonic()
    while time.monotonic() - began < LEASE_S:
        time.sleep(min(BEAT_S / 3, LEASE_S / 10))
        if (now := _highest(folder)[1]) != found:
            raise _refusal(folder, now)


def _refusal(folder: Folder, claim: Claim) -> UserError:
    return UserError(
        f"another driver is at work in {folder.name}: {claim.in_words()}. Wait until it is done, or stop it, and run "
        f"the same command again: what is done is kept. Should it be dead, it is taken over {LEASE_S:.0f} s after its "
        "last sign of life"
    )


def _highest(folder: Folder) -> tuple[int, Claim]:
    """(number, how the lock stands); number 0 and a released claim where nobody has held it yet."""
    while True:
        names = folder.files(".json")
        if not names:
            return 0, Claim(released=True)
        try:
            return _number(names[-1]), _claim(folder.read_bytes(names[-1]))
        except FileNotFoundError:
            continue  # the next number was written, and this one removed, in between


def _write_next(folder: Folder, number: int, claim: Claim) -> bool:
    """Whether how the lock stands is now `claim`, and what was number `number` before is the past."""
    name = f"{number + 1:012d}.json"
    data = json.dumps(asdict(claim)).encode()
    if not folder.create(name, data) and _claim_at(folder, name) != claim:
        return False
    names = folder.files(".json")
    if names[-1] != name:
        if _claim_at(folder, name) == claim:
            folder.remove(name)  # below the highest it means nothing
        return False
    for old in names[:-1]:
        folder.remove(old)
    return True


def _claim_at(folder: Folder, name: str) -> Claim | None:
    try:
        return _claim(folder.read_bytes(name))
    except FileNotFoundError:
        return None


def _claim(data: bytes) -> Claim:
    """A claim; one of nobody known where a driver died, or is, in the middle of writing it on a disk."""
    try:
        fields: dict[str, Any] = json.loads(data)
    except ValueError:
        return Claim()
    return Claim(**fields)


def _number(name: str) -> int:
    return int(name.removesuffix(".json"))


def _is_dead(claim: Claim) -> bool:
    """Whether its holder was of this machine and is no more. Of another machine's nobody here can tell."""
    if not claim.machine or claim.machine != _machine():
        return False
    if claim.pid == os.getpid() and claim.born == _born(claim.pid):
        return claim.token not in _held_here
    return _born(claim.pid) != claim.born


def _machine() -> str:
    """This machine since its last start, and the process namespace in it; empty where that cannot be told."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return str(os.getuid())
