"""The keys that let clients in: made, revoked and told apart, all in one file.

Knows the file and what is kept of a key, which is never the key. Does not know the web: who presents a key, and what
happens to those without one, is the gate's.
"""

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.core.errors import UserError

PREFIX = "tut-"
RANDOM_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")  # it stands in tables, labels of metrics and logs


class Key(BaseModel):
    """What is kept of a key.

    A plain SHA-256 is enough: slow hashes and salts are against guessing what people choose, and nobody guesses 256
    random bits. A slow one would be paid with every request.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    made: str
    revoked: str | None = None

    @property
    def is_live(self) -> bool:
        return self.revoked is None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    keys: tuple[Key, ...]


def default_file() -> Path:
    """Where keys are kept for whoever names no other place."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "tutelage" / "keys.json"


def read(file: Path) -> Sequence[Key]:
    """All of them, revoked ones too. UserError where the file is not there, or is no file of keys."""
    try:
        return _File.model_validate_json(file.read_bytes()).keys
    except FileNotFoundError as error:
        raise UserError(
            f"there are no keys in {file}; make one with `tutelage keys create NAME --keys {file}`"
        ) from error
    except OSError as error:
        raise UserError(f"the keys in {file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise UserError(f"{file} is not a file of keys, or is damaged; move it away and make new keys") from error


def create(file: Path, name: str) -> str:
    """A new key, which is told this once. UserError where the name is not free, or is no name."""
    if not NAME.fullmatch(name):
        raise UserError(f"{name!r}: a key's name is up to 64 letters, digits and . _ @ -, a letter or digit first")
    secret = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    with _locked(file):
        keys = read(file) if file.exists() else ()
        if any(key.name == name and key.is_live for key in keys):
            raise UserError(f"{name!r} has a key already; revoke it first, or choose another name")
        _write(file, [*keys, Key(name=name, sha256=_digest(secret.encode()), made=_now())])
    return secret


def revoke(file: Path, name: str) -> None:
    """Let nobody in with this name's key any more. UserError where it has none that is live."""
    read(file)  # or the lock would make the folder of a file that is not there
    with _locked(file):
        keys = read(file)
        if not any(key.name == name and key.is_live for key in keys):
            raise UserError(f"{name!r} has no key that is not revoked yet; `tutelage keys list` shows all")
        now = _now()
        _write(file, [key.model_copy(update={"revoked": now}) if _is(key, name) else key for key in keys])


class LiveKeys:
    """The file's live keys for whoever asks again and again; another state of the file is read when it is there."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._state: tuple[int, ...] = ()
        self._live: Sequence[Key] = ()

    def name_of(self, presented: bytes) -> str | None:
        """Whose key this is; None where it is nobody's. UserError while the file cannot be read: nobody is let in."""
        self._refresh()
        digest = _digest(presented)
        found = None
        for key in self._live:  # all of them, each in constant time: how long it takes tells nothing
            if hmac.compare_digest(key.sha256, digest):
                found = key.name
        return found

    def _refresh(self) -> None:
        try:
            about = self._file.stat()
        except OSError as error:
            self._state = ()
            raise UserError(f"the keys in {self._file} cannot be read: {error.strerror}") from error
        state = (about.st_mtime_ns, about.st_size, about.st_ino)
        if state != self._state:
            self._state = ()  # what cannot be read is read again at the next try
            self._live = [key for key in read(self._file) if key.is_live]
            self._state = state


def _is(key: Key, name: str) -> bool:
    return key.name == name and key.is_live


def _digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """One writer at a time: of two that read the same keys, the second would undo what the first did."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (file.parent / f".{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(file: Path, keys: Sequence[Key]) -> None:
    """The whole file or nothing of it, for its owner's eyes only."""
    handle, partial = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump({"keys": [key.model_dump() for key in keys]}, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, file)
    finally:
        Path(partial).unlink(missing_ok=True)
