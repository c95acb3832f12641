"""Where clients come in, and what is asked of them there.

Knows that without a key nobody but this machine's own programs may come in. Does not know requests: `gate.py` holds
each to what stands here.
"""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.core.errors import UserError
from serving import keys
from serving.limits import Limits

HOST = "127.0.0.1"
EVERY = "0.0.0.0"


@dataclass(frozen=True)
class Door:
    """An address that is listened on. Without keys it has to be this machine's own."""

    host: str = HOST
    keys: Path | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def reached_at(self) -> str:
        """An address by which this machine reaches it."""
        return HOST if self.host == EVERY else self.host

    @property
    def words(self) -> str:
        """For whoever opens it."""
        where = "this machine only" if is_loopback(self.host) else f"listens on {self.host}"
        return f"{where}; {'clients need a key' if self.keys else 'no key'}"


def opened(host: str, file: Path | None, limits: Limits) -> Door:
    """With the live keys of this file, or of the usual one. UserError where others could come in without a key."""
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError as error:
        raise UserError(f"--host {host}: not an IPv4 address of this machine; {EVERY} is all of them") from error
    kept = _with_live_keys(file)
    if kept is None and not address.is_loopback:
        raise UserError(
            f"--host {host} lets other machines in, and there is no key yet: make one with `tutelage keys create NAME`"
            f"{f' --keys {file}' if file else ''}, or leave --host away to serve this machine only"
        )
    return Door(host, kept, limits)


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine, and is no name that a web page's owner could give it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _with_live_keys(file: Path | None) -> Path | None:
    """The file of keys where one of them is live. A file that is named has to be there."""
    wanted = file or keys.default_file()
    if file is None and not wanted.exists():
        return None
    return wanted.resolve() if any(key.is_live for key in keys.read(wanted)) else None
