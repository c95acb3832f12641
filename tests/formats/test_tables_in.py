"""Tables are read by their columns: Parquet, a saved dataset, the hub (which no test reaches)."""

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.core.errors import UserError
from pipelines.formats import folder, sources

GOOD = {"instruction": "Sing.", "input": "", "output": "La."}
SAYS = {"role": "assistant", "content": "So."}


@pytest.mark.parametrize(
    "columns",
    [
        {"instruction": ["A?"], "input": [None], "output": ["So."], "day": [date(2026, 1, 2)]},
        {"messages": [[{"role": "user", "content": "A?"}, SAYS]], "raw": [b"\xff"]},
        {"conversations": [[{"from": "human", "value": "A?"}, {"from": "gpt", "value": "So."}]]},
    ],
    ids=["alpaca", "messages", "sharegpt"],
)
def test_a_table_is_read_by_its_columns(columns: dict[str, Any], imported: Any, tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "part.parquet")
    [row], dropped = imported(tmp_path / "part.parquet", "parquet")
    assert (row.turns, dropped) == (("A?", "So."), [])
    assert imported(tmp_path, "parquet")[0] == [row]


def test_a_table_with_other_columns_is_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["A?"], "chosen": ["B."]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="has the columns prompt, chosen; instruction and output, messages"):
        folder.import_(str(tmp_path / "t.parquet"), "parquet", str(tmp_path / "out"))
    pq.write_table(pa.table({"prompt": []}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="has no rows"):
        folder.import_(str(tmp_path / "t.parquet"), "parquet", str(tmp_path / "out"))


def test_a_saved_dataset_is_read_by_its_split(imported: Any, tmp_path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    rows = [{**GOOD, "output": f"La {n}."} for n in range(3)]
    splits = {"train": datasets.Dataset.from_list(rows[:2]), "test": datasets.Dataset.from_list(rows[2:])}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    assert [row.turns[1] for row in imported(tmp_path / "saved", "hf")[0]] == ["La 0.", "La 1."]
    assert [row.turns[1] for row in imported(tmp_path / "saved", "hf", "test")[0]] == ["La 2."]
    with pytest.raises(UserError, match="choose one with --split: train, test"):
        imported(tmp_path / "saved", "hf", "none")
    with pytest.raises(UserError, match="has no splits"):
        imported(tmp_path / "saved" / "train", "hf", "test")


def test_the_hub_is_asked_by_name_and_revision(imported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[Any] = []

    def load(*arguments: Any, **named: Any) -> Any:
        asked.append((arguments, named))
        if arguments == ("nobody/nothing",):
            raise datasets.exceptions.DatasetNotFoundError("no such dataset")
        return datasets.Dataset.from_list([GOOD])

    monkeypatch.setattr(datasets, "load_dataset", load)
    [row], _ = imported("ann/tasks@v1", "hf", "test")
    assert (row.turns, asked) == (("Sing.", "La."), [(("ann/tasks",), {"revision": "v1", "split": "test"})])
    with pytest.raises(UserError, match=r"nobody/nothing.* cannot be fetched"):
        imported("nobody/nothing", "hf")
    for name in ("../up", "json", "/absent/folder", "a/b/c"):
        with pytest.raises(UserError, match="no file or folder"):
            sources.open_source(name, "hf")
