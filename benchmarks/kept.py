"""What an experiment measured, a small file for each arm and seed: hours of it can be spread over days and machines.

Used by the scripts beside it. A file holds the settings that it was measured with, and no others are compared with it.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

S = TypeVar("S")


def kept(
    folder: str | None,
    arm: str,
    seed: int,
    settings: Mapping[str, Any],
    kind: Callable[..., S],
    measure: Callable[[], S],
) -> S:
    """What is kept of this arm and seed, a dataclass of this kind, or what is measured now. Without a folder nothing is
    kept.
    """
    if folder is None:
        return measure()
    file = Path(folder) / f"{re.sub('[^a-z0-9]+', '-', arm.lower())}-{seed}.json"
    told = json.loads(json.dumps(dict(settings)))
    if not file.is_file():
        found = measure()
        file.parent.mkdir(parents=True, exist_ok=True)
        written = json.dumps({"arm": arm, "seed": seed, "settings": told, "seen": asdict(found)})  # type: ignore[call-overload]
        file.write_text(written + "\n", encoding="utf-8")
        return found
    before = json.loads(file.read_text(encoding="utf-8"))
    if before["settings"] != told:
        raise SystemExit(f"{file} was measured with {before['settings']}, not with {told}; keep these elsewhere")
    return kind(**before["seen"])
