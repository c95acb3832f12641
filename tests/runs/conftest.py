"""What the tests of runs share: a recipe with a fake teacher that can be planned, and the command line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def recipe(model: Path, recipe_data: dict[str, Any], tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(recipe_data))
    return file


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipelines.cli", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    return call


@pytest.fixture
def montessori_data(recipe_data: dict[str, Any], model: Path) -> dict[str, Any]:
    """A recipe of one round whose teacher is a fake; tests change their own copy."""
    instructions = {"samples": 4, "sampling": {"temperature": 1.0, "min_p": 0.05, "max_tokens": 400}}
    return {
        **recipe_data,
        "method": "montessori",
        "instructions": {**recipe_data["instructions"], **instructions},
        "rounds": {"count": 1, "warm_up": {"rows": 4}, "probe": {"reference": {"path": "seeds", "limit": 16}}},
        "student": {"init": {"kind": "model", "model": str(model)}},
        "evaluate": {"rows": 5, "students": 2},
    }
