"""What the tests of runs share: a recipe with a fake teacher that can be planned, and the command line."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def model(tiny_model_folder: Path) -> Path:
    """The tokenizer's folder with a config and empty weights: enough to plan with."""
    config = {
        "num_hidden_layers": 4, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 400, "tie_word_embeddings": True,
    }  # fmt: skip
    (tiny_model_folder / "config.json").write_text(json.dumps(config))
    (tiny_model_folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return tiny_model_folder


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
