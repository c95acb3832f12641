"""A folder on an object store: the objects whose names begin alike.

Knows obstore: requests that fail or stall are put again, with bounded patience. Every write is one whole object.
Does not know what is in objects, nor which names are allowed.
"""

import configparser
import os
import random
import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import cache
from io import SEEK_CUR, SEEK_END, SEEK_SET, BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

import obstore
from obstore import exceptions
from obstore.store import S3Store, from_url
from pyarrow.fs import FileSystem

from pipelines.core.errors import Unreachable, UserError

R = TypeVar("R")
PATIENCE_S = 180.0  # of failures, after which a request is not put again
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 15.0
TRIES = 4  # of each part of a large object
CONNECT_S, SILENCE_S, REQUEST_S = 5.0, 20.0, 300.0
READ_AHEAD, RANGE = 2**17, 2**24
OPTIONS = ("endpoint_override", "region", "scheme")  # of an s3:// URI, as pyarrow has them
_NO_BUCKET = "NoSuchBucket"
_REFUSALS = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError)
_MISTAKE = re.compile(r"non-2xx status code: [34]")  # the same request would get the same answer


class Objects:
    """One folder. There is nothing to make: it exists as long as something is in it."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        bare, _, options = uri.partition("?")
        parts = urlsplit(bare)
        if "@" in parts.netloc:
            raise UserError("a folder's URI holds no keys; put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        if not parts.netloc:
            raise UserError(f"the folder {uri!r} cannot be opened: it names no bucket")
        self._store = _store(parts.scheme, parts.netloc, options)
        self._below = parts.path.strip("/")

    def exists(self, name: str) -> bool:
        try:
            self._asked(lambda: obstore.head(self._store, self._at(name)))
        except FileNotFoundError:
            return False
        return True

    def entries(self) -> list[tuple[str, bool]]:
        """(name, whether it is a folder) of what lies directly inside."""
        found = self._asked(lambda: obstore.list_with_delimiter(self._store, self._below))
        folders = [(path.rsplit("/", 1)[-1], True) for path in found["common_prefixes"]]
        return folders + [(meta["path"].rsplit("/", 1)[-1], False) for meta in found["objects"] if self._is_below(meta)]

    def sizes(self) -> dict[str, int]:
        """Bytes of every object below, by its path from here."""
        return {self._from_here(meta["path"]): meta["size"] for meta in self._listed()}

    def stamps(self) -> dict[str, str]:
        """What tells each object's content from what it was before, by its path from here."""
        return {self._from_here(meta["path"]): f"{meta['size']}-{meta['e_tag']}" for meta in self._listed()}

    def download(self, path: str, target: Path) -> None:
        """Copy an object into a file, a range at a time."""
        size = self._asked(lambda: obstore.head(self._store, self._at(path)))["size"]
        with target.open("wb") as out:
            for start in range(0, size, RANGE):
                out.write(self.read_range(path, start, min(start + RANGE, size)))

    def upload(self, source: Path, path: str) -> None:
        """Copy a file into an object, whole or not at all."""
        self._asked(lambda: obstore.put(self._store, self._at(path), source))

    def open(self, name: str) -> BinaryIO:
        """To read a part of an object, where the whole is not wanted."""
        size = self._asked(lambda: obstore.head(self._store, self._at(name)))["size"]
        return cast(BinaryIO, BufferedReader(_Ranges(self, name, size), READ_AHEAD))

    def read(self, name: str) -> bytes:
        return self._asked(lambda: bytes(obstore.get(self._store, self._at(name)).bytes()))

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        return self._asked(lambda: bytes(obstore.get_range(self._store, self._at(name), start=start, end=stop)))

    def write(self, name: str, data: bytes) -> None:
        """The whole object or none: one PUT, or for a large one several that count together."""
        self._asked(lambda: obstore.put(self._store, self._at(name), data))

    def create(self, name: str, data: bytes) -> bool:
        """PUT a small object that must not be there; False where it is. Of several who try, one succeeds.

        Where an answer is lost and the request put again, False may mean that the object is one's own.
        """
        try:
            self._asked(lambda: obstore.put(self._store, self._at(name), data, mode="create"))
        except exceptions.AlreadyExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):  # S3 does not say so, other stores do
            self._asked(lambda: obstore.delete(self._store, self._at(name)))

    def delete(self) -> None:
        """Everything below, and the empty objects that stand for folders.

        Ray Train writes by pyarrow, which makes such objects; their names end in "/", which obstore cannot say.
        """
        paths = [meta["path"] for meta in self._listed()]
        self._asked(lambda: obstore.delete(self._store, paths))
        if self._asked(lambda: list(obstore.list(self._store, self._below))):
            filesystem, path = FileSystem.from_uri(self._uri)
            filesystem.delete_dir(path)

    def _listed(self) -> list[Any]:
        found = self._asked(lambda: list(obstore.list(self._store, self._below)))
        return [meta for metas in found for meta in metas if self._is_below(meta)]

    def _is_below(self, meta: Any) -> bool:
        """Not the folder's own name, of which some tools make an empty object."""
        return bool(meta["path"] != self._below)

    def _from_here(self, path: str) -> str:
        return path.removeprefix(f"{self._below}/") if self._below else path

    def _at(self, name: str) -> str:
        return f"{self._below}/{name}" if self._below else name

    def _asked(self, ask: Callable[[], R]) -> R:
        """What the store answers. UserError where it refuses, Unreachable where patience ends; in words both."""
        try:
            return _patiently(ask)
        except exceptions.AlreadyExistsError:
            raise
        except (FileNotFoundError, PermissionError, exceptions.BaseError) as error:
            if _NO_BUCKET in str(error):
                raise UserError(f"{self._uri}: there is no such bucket") from error
            if isinstance(error, FileNotFoundError):
                raise
            if isinstance(error, _REFUSALS) or _MISTAKE.search(str(error)):
                raise UserError(f"{self._uri}: the store refuses: {_first_line(error)}") from error
            raise Unreachable(f"{self._uri}: the store does not answer: {_first_line(error)}") from error


def _patiently(ask: Callable[[], R]) -> R:
    """Ask until there is an answer: obstore puts a request again, but not where the answer's body was cut."""
    failing_since, pause = None, FIRST_PAUSE_S
    while True:
        try:
            return ask()
        except exceptions.GenericError as error:
            failing_since = failing_since or time.monotonic()  # a large object may have taken long until then
            if _MISTAKE.search(str(error)) or time.monotonic() - failing_since > PATIENCE_S:
                raise
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, LONGEST_PAUSE_S)


class _Ranges(RawIOBase):
    """An object as a file that is read by ranges."""

    def __init__(self, objects: Objects, name: str, size: int) -> None:
        self._objects, self._name, self._size, self._position = objects, name, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        self._position = offset + {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        stop = min(self._position + len(buffer), self._size)
        if stop <= self._position:
            return 0
        data = self._objects.read_range(self._name, self._position, stop)
        buffer[: len(data)] = data
        self._position = stop
        return len(data)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]


@cache
def _store(scheme: str, bucket: str, options: str) -> Any:
    """One for a process: it holds the connections and the credentials."""
    given = dict(parse_qsl(options))
    client: Any = {
        "connect_timeout": timedelta(seconds=CONNECT_S),
        "read_timeout": timedelta(seconds=SILENCE_S),
        "timeout": timedelta(seconds=REQUEST_S),
        "allow_http": given.get("scheme") == "http",
    }
    retry: Any = {"max_retries": TRIES, "retry_timeout": timedelta(seconds=PATIENCE_S)}
    try:
        if scheme == "s3":
            return S3Store(bucket, client_options=client, retry_config=retry, **_s3_settings(bucket, given))
        return from_url(f"{scheme}://{bucket}", client_options=client, retry_config=retry)
    except (exceptions.BaseError, ValueError) as error:
        raise UserError(f"the folder {scheme}://{bucket} cannot be opened: {_first_line(error)}") from error


def _s3_settings(bucket: str, given: dict[str, str]) -> Any:
    """What the environment does not say of itself: the bucket's region, and keys out of the user's AWS folder."""
    if strange := sorted(set(given) - set(OPTIONS)):
        raise UserError(f"s3://{bucket}: there is no option {strange[0]!r}; there is {', '.join(OPTIONS)}")
    settings = {**_profile()}
    if "endpoint_override" in given:
        settings["endpoint"] = f"{given.get('scheme', 'https')}://{given['endpoint_override']}"
    if "region" in given:
        settings["region"] = given["region"]
    elif "endpoint" not in settings and not {"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"} & set(os.environ):
        from pyarrow.fs import resolve_s3_region

        settings["region"] = resolve_s3_region(bucket)
    return settings


def _profile() -> dict[str, str]:
    """The keys in ~/.aws/credentials, where the environment has none; roles of machines are obstore's to find."""
    file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    if "AWS_ACCESS_KEY_ID" in os.environ or not file.is_file():
        return {}
    profiles = configparser.RawConfigParser()
    profiles.read(file)
    name = os.environ.get("AWS_PROFILE", "default")
    keys = {"aws_access_key_id": "access_key_id", "aws_secret_access_key": "secret_access_key",
            "aws_session_token": "session_token"}  # fmt: skip
    found = dict(profiles[name]) if profiles.has_section(name) else {}
    return {ours: found[theirs] for theirs, ours in keys.items() if theirs in found}
