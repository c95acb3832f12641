"""The recipe that faults meet, and the table of what each cost, which stands at the end of a session of these tests."""

import json
from pathlib import Path

import pytest
import yaml

ROWS, LATENCY_S = 192, 0.5


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
                "examples_per_step": 4, "max_length": 128, "checkpoint_every": 20, "epochs": 2,
            },
        },
    }  # fmt: skip
    (home / "faults.yaml").write_text(yaml.safe_dump(data))
    return home / "faults.yaml"
