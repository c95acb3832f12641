"""Content hashes: what a thing means, never where it lies.

Knows canonical JSON and file bytes. Does not know stages or models. A value that has no stable meaning
(an object, a function, a NaN) is refused rather than hashed by its address.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

KEY_LENGTH = 16  # hex digits: 64 bits, enough for 10^8 rows at a collision chance below 10^-3


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces. Raises TypeError for what cannot be hashed by meaning."""
    _refuse_the_meaningless(value, "value")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def key_of(*parts: Any) -> str:
    """The short content key of some JSON-able parts."""
    return hashlib.sha256(canonical(list(parts)).encode()).hexdigest()[:KEY_LENGTH]


def seed_of(key: str) -> int:
    """A sampling seed (31 bits, never 0) that depends on a key only."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % (2**31 - 1) + 1


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def rows_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """A digest of a set of rows, the same in whatever order they come."""
    return digest_of_sum(rows_sum(rows))


def rows_sum(rows: Iterable[Mapping[str, Any]]) -> int:
    """The sum of the rows' hashes: sums of several sets, added, are that of all."""
    total = 0
    for row in rows:
        text = json.dumps(row, sort_keys=True, separators=(",", ":"), default=_bytes_as_hex)
        total += int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    return total


def digest_of_sum(total: int) -> str:
    return f"{total % 2**256:064x}"


def _bytes_as_hex(value: Any) -> str:
    assert isinstance(value, bytes), f"a record holds a {type(value).__name__}"
    return value.hex()


def _refuse_the_meaningless(value: Any, where: str) -> None:
    if value is None or isinstance(value, str | bool | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{where} is {value}, which has no stable hash")
        return
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(f"{where} has the key {name!r}, which is not a string")
            _refuse_the_meaningless(item, f"{where}.{name}")
        return
    if isinstance(value, list | tuple):
        for n, item in enumerate(value):
            _refuse_the_meaningless(item, f"{where}[{n}]")
        return
    raise TypeError(f"{where} is a {type(value).__name__}, which cannot be hashed by its meaning")
