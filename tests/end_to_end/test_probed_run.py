"""`tutelage probe` on a student that Ray Train left warm: a user's rows, scored in a worker of the cluster."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.core.errors import UserError
from pipelines.core.progress import Progress
from pipelines.runs import api, probe

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def recipe(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("probed")
    for name, verb in (("train", "Sell"), ("reference", "Buy")):
        rows = [{"instruction": f"{verb} item {n}.", "output": f"It is {verb} for {n} coins."} for n in range(24)]
        (home / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    mine = [{"id": f"mine {n}", "instruction": f"Buy {n}.", "response": f"It is Buy for {n} coins."} for n in range(12)]
    mine += [
        {"id": "empty", "instruction": "Buy.", "response": " "},
        {"id": "long", "instruction": "Buy.", "response": "x " * 600},
    ]
    (home / "mine.jsonl").write_text("\n".join([*map(json.dumps, mine), "{not JSON"]))
    data = {
        "name": "probed",
        "method": "tune",
        "data": {"sources": {"main": {"path": str(home / "train.jsonl")}}, "held_out": 4},
        "student": {
            "init": {"kind": "model", "model": str(tiny_llama)},
            "train": {
                "precision": "fp32", "zero_stage": 0, "learning_rate": 1.0e-4, "schedule": "ramp", "warm": True,
                "examples_per_step": 4, "max_length": 256,
            },
            "probe": {
                "reference": {"path": str(home / "reference.jsonl"), "limit": 8}, "self_check": {"rows": 12},
            },
        },
    }  # fmt: skip
    file = home / "probed.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


@pytest.fixture(scope="module")
def score(recipe: Path) -> Any:
    """Scores the user's rows in the run's folder; the run is made first."""
    runs = str(recipe.parent / "runs")
    api.run(api.load(recipe), runs)

    def made(out: Path, method: str, *sets: str) -> probe.Scores:
        loaded, _, stages = api.open_run(str(recipe), runs, sets)
        return probe.score(loaded, stages, str(recipe.parent / "mine.jsonl"), method, str(out), runs, None, Progress())

    return made


def lines(file: Path) -> dict[str, dict[str, Any]]:
    return {line["id"]: line for line in map(json.loads, file.read_text().splitlines())}


def test_every_row_is_scored_or_dropped_and_the_estimate_is_checked(score: Any, tmp_path: Path) -> None:
    exact, estimated = score(tmp_path / "exact.jsonl", "exact"), score(tmp_path / "first.jsonl", "first_order")
    assert exact.scored == estimated.scored == 12
    assert exact.dropped == {"empty": 1, "not a row": 1, "too long": 1}
    assert [words.rsplit(" ", 1)[0] for words in exact.told] == [
        "reference: 8",
        "Spearman correlation with the rows' own loss:",
    ]
    assert "12 rows measured both ways: Spearman" in estimated.told[2]
    one, other = lines(tmp_path / "exact.jsonl"), lines(tmp_path / "first.jsonl")
    for id in (f"mine {n}" for n in range(12)):
        assert one[id]["influence"] == pytest.approx(one[id]["null_step"] - one[id]["after"], abs=1e-9)
        assert other[id]["influence"] == pytest.approx(one[id]["influence"], rel=0.2, abs=1e-4)


def test_no_row_is_scored_twice(score: Any, recipe: Path, tmp_path: Path) -> None:
    out, runs = tmp_path / "scores.jsonl", recipe.parent / "runs"
    score(out, "exact")
    whole, known = out.read_text(), sorted(runs.glob("influences-*/*"))
    for folder in runs.glob("influence-*"):
        shutil.rmtree(folder)  # as if it had been killed before its end
    out.unlink()
    score(out, "exact")
    assert out.read_text() == whole
    assert sorted(runs.glob("influences-*/*")) == known


def test_what_is_evaluated_on_is_no_reference(score: Any, recipe: Path, tmp_path: Path) -> None:
    same = f"student.probe.reference={{path: {recipe.parent / 'train.jsonl'}}}"
    with pytest.raises(UserError, match="of its 24 prompts are evaluated on"):
        score(tmp_path / "out.jsonl", "exact", same)
    assert score(tmp_path / "out.jsonl", "exact", same, "student.probe.evaluated_too=true").scored == 12
