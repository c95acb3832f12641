"""How many engines and which adapters models are served with, as a person writes it."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.adapters import Adapter
from cluster.engines import ONE, Replicas, serve_config, setup
from cluster.session import Session
from pipelines.core.config import Engine
from pipelines.core.errors import UserError
from pipelines.runs import served_with
from pipelines.runs.served_with import ALL, Wanted
from serving.served import Served

HERE = Session("", Path("logs"), gpus=0, threads=2)


@pytest.fixture
def models(tiny_llama: Path) -> list[Served]:
    return [Served(name, tiny_llama, "d", Engine(max_num_seqs=8)) for name in ("teacher", "student")]


@pytest.fixture
def adapter(tiny_llama: Path, tmp_path: Path) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], rank_pattern={"down_proj": 12})
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_llama), config).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def config_of(model: Served) -> dict[str, Any]:
    replica = setup(model.folder, model.engine, HERE)
    return serve_config(model.name, replica, model.replicas, model.adapters)


def test_models_are_wanted_by_name(models: list[Served]) -> None:
    assert ALL.of(models) == models
    assert Wanted(["student"]).of(models) == [models[1]]
    with pytest.raises(UserError, match=r"--model pupil: there is no such model to serve; there is teacher, student"):
        Wanted(["student", "pupil"]).of(models)


def test_bounds_reach_serve(models: list[Served]) -> None:
    teacher, student = served_with.replicas(models, ["student=0:4"])
    assert (teacher.replicas, student.replicas) == (ONE, Replicas(0, 4))
    scaling = config_of(student)["deployment_config"]["autoscaling_config"]
    assert scaling == {"min_replicas": 0, "max_replicas": 4, "target_ongoing_requests": 8}
    assert student.meaning != models[1].meaning


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("student", "write MODEL=MIN:MAX"),
        ("student=-1:2", "write MODEL=MIN:MAX"),
        ("student=2:1", "MAX must be at least MIN"),
        ("student=0:0", "at least 1"),
        ("judge=1:2", "there is no such model to serve; there is teacher, student"),
    ],
)
def test_bounds_that_are_none_are_refused(models: list[Served], text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        served_with.replicas(models, [text])


def test_adapters_are_names_of_their_models_engine(models: list[Served], adapter: Path) -> None:
    teacher, student = served_with.beside(models, [f"student/french={adapter}"])
    assert (teacher.names, student.names) == (("teacher",), ("student", "student/french"))
    assert student.adapters == (Adapter("student/french", adapter.resolve(), 12),)
    engine = config_of(student)["engine_kwargs"]
    assert (engine["enable_lora"], engine["max_loras"], engine["max_lora_rank"]) == (True, 1, 16)
    assert engine["lora_modules"] == [{"name": "student/french", "path": str(adapter)}]
    assert "enable_lora" not in config_of(teacher)["engine_kwargs"]


def test_an_adapter_of_another_model_is_refused(models: list[Served], adapter: Path, tiny_served: Path) -> None:
    with pytest.raises(UserError, match="which has no place for base_model"):
        served_with.beside([Served("student", tiny_served, "d", Engine())], [f"student/french={adapter}"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "biases"),
        ({"r": 1024}, "rank 1024"),
        ({"peft_type": "IA3"}, "IA3"),
    ],
)
def test_what_vllm_cannot_hold_is_refused(
    models: list[Served], adapter: Path, changed: dict[str, object], words: str
) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, **changed}))
    with pytest.raises(UserError, match=words):
        served_with.beside(models, [f"student/french={adapter}"])


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["french=FOLDER"], "write MODEL/NAME=FOLDER"),
        (["judge/french=FOLDER"], "no such model to serve"),
        (["student/french=nowhere"], "is not a LoRA adapter"),
        (["student/french=FOLDER", "student/french=FOLDER"], "named twice"),
    ],
)
def test_adapters_that_cannot_be_are_refused(models: list[Served], adapter: Path, texts: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        served_with.beside(models, [text.replace("FOLDER", str(adapter)) for text in texts])
