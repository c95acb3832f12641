"""What lies in a folder's safetensors files, read from their headers: names and shapes, no weights."""

import json
from pathlib import Path


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by tensor name, over all the folder's files."""
    found: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as handle:
            header = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
        found |= {name: tuple(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}
    return found
