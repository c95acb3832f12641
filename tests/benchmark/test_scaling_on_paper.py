"""What `docs/scaling.md` says: its table is the script's, and its formulas count what stages ask of a store."""

from collections import Counter
from pathlib import Path
from runpy import run_path

import pytest

from pipelines.core import storage

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


def test_the_table_is_the_scripts() -> None:
    paper = run_path(str(BENCHMARKS / "scaling_paper.py"))
    table = paper["table"]([10**6, 10**8], paper["Assumed"](), paper["Measured"]())
    assert table in (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


def test_its_formulas_count_what_is_asked_of_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By how much more is asked for more rows, as a stage asks a few things once. Nothing else asks for HEADs."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    paper, scaling = run_path(str(BENCHMARKS / "scaling_paper.py")), run_path(str(BENCHMARKS / "scaling.py"))
    disk = scaling["CountedDisk"]
    monkeypatch.setattr(storage, "Disk", disk)
    asked = []
    for rows in (256, 512):
        disk.asked.clear()
        scaling["Trial"](tmp_path / f"{rows}", rows + scaling["HELD_OUT"]).run(scaling["STAGES"])
        asked.append(Counter(disk.asked))
    told = {what: value for what, _, value, _ in paper["lines"](256, paper["Assumed"](), paper["Measured"]())}
    assert asked[1]["HEAD"] - asked[0]["HEAD"] == told["store: HEADs"]
    assert asked[1]["GET"] - asked[0]["GET"] == pytest.approx(told["store: GETs"], rel=0.1)  # locks ask for some, too
