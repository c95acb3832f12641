"""The recipe that faults meet, and the table of what each cost, which stands at the end of a session of these tests."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

ROWS, LATENCY_S = 800, 1.0  # several times what two actors ask at once
COLUMNS = ("fault", "seconds", "wasted", "steps made twice")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What tests noted under the names of the columns, as a Markdown table."""
    noted = [dict(r.user_properties) for r in terminalreporter.getreports("passed") if r.when == "call"]
    if rows := [row for row in noted if COLUMNS[0] in row]:
        terminalreporter.section("what each fault cost")
        for line in (COLUMNS, ["---"] * len(COLUMNS), *([row[name] for name in COLUMNS] for row in rows)):
            terminalreporter.write_line(f"| {' | '.join(map(str, line))} |")


@pytest.fixture(scope="session")
def recipe(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Given answers; a teacher in a pool tells what it thinks of them, and a tiny student learns that."""
    home = tmp_path_factory.mktemp("recipe")
    rows = [{"instruction": f"Sell item {n}.", "output": f"It is sold for {n} coins."} for n in range(ROWS)]
    (home / "shop.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    teacher = {"kind": "fake", "model": str(tiny_llama), "latency_s": LATENCY_S, "pool": {"min": 2, "max": 2}}
    data = {
        "name": "faults", "method": "tune",
        "teachers": {"main": {**teacher, "bulk_from": 0}},
        "data": {"sources": {"shop": {"path": str(home / "shop.jsonl")}}, "held_out": 8},
        "student": {
            "init": {"kind": "model", "model": str(tiny_llama)},
            "signals": "main",
            "train": {
                "losses": {"answer": 1.0, "kd": 0.5}, "top_k": 4, "precision": "fp32", "zero_stage": 0,
                "examples_per_step": 8, "max_length": 128, "checkpoint_every": 10,
            },
        },
    }  # fmt: skip
    (home / "faults.yaml").write_text(yaml.safe_dump(data))
    return home / "faults.yaml"
