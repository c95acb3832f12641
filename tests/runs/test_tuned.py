"""A run on given data that has got as far as its examples: what leaves by `export`, and what its report shows."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.core import runner
from pipelines.core.errors import UserError
from pipelines.core.progress import Progress
from pipelines.core.storage import Folder
from pipelines.report.markdown import markdown
from pipelines.report.page import html
from pipelines.runs import api, lineage, reporting
from pipelines.runs.export import export


@pytest.fixture
def tuned(model: Path, tmp_path: Path) -> Path:
    """A recipe over two sources; one row of the first is too long, and with this seed not held out."""
    talks = [{"messages": turns(f"Sell item {n}.", "Sold.", "Really?", "Yes."), "shop": n} for n in range(8)]
    talks.append({"messages": turns("Sell all. " * 500, "Sold.")})
    (tmp_path / "shop.jsonl").write_text("\n".join(map(json.dumps, talks)))
    data = {
        "name": "tuned",
        "method": "tune",
        "seed": 3,
        "data": {"sources": {"shop": {"path": str(tmp_path / "shop.jsonl")}, "general": {"limit": 5}}, "held_out": 2},
        "student": {"init": {"kind": "model", "model": str(model)}, "train": {"max_length": 512}},
    }
    file = tmp_path / "tuned.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


def turns(*said: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]


def get_as_far_as(stages: int, recipe: Path, runs: Folder, quiet: Progress) -> tuple[Any, Folder, list[Any]]:
    loaded, folder, made = api.open_run(str(recipe), runs.uri)
    runner.run(made[:stages], runs, folder, quiet)
    folder.write_bytes("recipe.yaml", recipe.read_bytes())
    return loaded, folder, made


def test_what_was_trained_on_leaves_and_nothing_else(
    tuned: Path, runs: Folder, quiet: Progress, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no finished examples yet"):
        export(str(tuned), "messages", str(tmp_path / "out.jsonl"), runs.uri)
    get_as_far_as(2, tuned, runs, quiet)
    written = export(str(tuned), "messages", str(tmp_path / "out.jsonl"), runs.uri)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert written.rows == len(rows) == (8 - 2) + 5
    shop = [row for row in rows if "shop" in row]
    assert len(shop) == 6
    assert all(row["messages"] == turns(f"Sell item {row['shop']}.", "Sold.", "Really?", "Yes.") for row in shop)
    export(str(tuned), "hf", str(tmp_path / "set"), runs.uri)
    card = (tmp_path / "set" / "README.md").read_text()
    for words in ("11 conversations", "2 prompts of each source are held out", "| examples | 11 | 1 too long |"):
        assert words in card, words


def test_the_report_shows_rows_of_each_source_and_waits_for_no_answers(
    tuned: Path, runs: Folder, quiet: Progress
) -> None:
    recipe, folder, stages = get_as_far_as(1, tuned, runs, quiet)
    report = reporting.of_run(recipe, folder, stages)
    assert len(report.examples) == 6
    assert [row.answer for row in report.examples if row.instruction.startswith("Sell item")] == ["Sold."] * 3
    assert lineage.trace(report.examples[0].instruction_id, runs.uri)[0].startswith("trainexample ")
    for page in (markdown(report), html(report)):
        assert "Sell item" in page
        assert "Answers side by side" not in page
        assert "too long" in page
