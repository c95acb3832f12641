"""Datasets of the `datasets` library: a folder, an Arrow file, the hub. Nothing that a dataset brings is run.

Knows the library and its files. Gives batches as they lie there, so no image or sound is decoded.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.core.errors import UserError

BATCH = 1000


def from_disk(path: Path, split: str | None) -> Iterator[pa.RecordBatch]:
    """A folder that `save_to_disk` wrote, or one of its Arrow files."""
    if path.is_file():
        yield from _arrow_file(path)
        return
    import datasets

    try:
        found = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read as a saved dataset: {error}") from error
    yield from _batches(_chosen(found, split, path))


def from_hub(name: str, split: str | None) -> Iterator[pa.RecordBatch]:
    """`owner/name`, or `owner/name@REVISION`. Version 4 and later of the library run no code from the hub."""
    import datasets
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    repo, _, revision = name.partition("@")
    try:
        found = datasets.load_dataset(repo, revision=revision or None, split=split or "train")
    except (OSError, ValueError, RuntimeError, DatasetsError, HfHubHTTPError) as error:
        raise UserError(f"{name!r} is no file here and cannot be fetched from the hub: {error}") from error
    yield from _batches(found)


def _chosen(found: Any, split: str | None, path: Path) -> Any:
    """The split that was asked for: `train` unless told."""
    if not isinstance(found, dict):
        if split is not None:
            raise UserError(f"{path} has no splits; leave out --split")
        return found
    if (split or "train") not in found:
        raise UserError(f"{path} has no split {split or 'train'!r}; choose one with --split: {', '.join(found)}")
    return found[split or "train"]


def _batches(dataset: Any) -> Iterator[pa.RecordBatch]:
    for table in dataset.with_format("arrow").iter(BATCH):
        yield from table.to_batches()


def _arrow_file(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pa.memory_map(str(path)) as handle:
            is_file = handle.read(6) == b"ARROW1"
            handle.seek(0)
            yield from pa.ipc.open_file(handle).read_all().to_batches() if is_file else pa.ipc.open_stream(handle)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as an Arrow file: {error}") from error
