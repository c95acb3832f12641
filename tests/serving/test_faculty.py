"""What a teacher is, by its digest: everything that changes its words, and nothing that changes only its speed."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.core.config import VLLMTeacher
from pipelines.core.recipe import recipe_of
from serving.faculty import ClusterFaculty
from serving.served import Served


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """The files of a LoRA adapter, as far as its content counts."""
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    (tmp_path / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return tmp_path


def faculty(model: Path, **teacher: Any) -> ClusterFaculty:
    main = {"kind": "vllm", "model": str(model), **teacher}
    data = {"name": "small", "method": "generate", "teachers": {"main": main}, "instructions": {"kind": "given"}}
    return ClusterFaculty(recipe_of({**data, "answers": {"teacher": "main"}}))


def digest(model: Path, **teacher: Any) -> str:
    return faculty(model, **teacher).identity("main").digest


def test_a_plain_teacher_is_its_models_files_however_fast_it_runs(model: Path) -> None:
    plain = digest(model)
    assert plain == faculty(model).model("main").digest
    fast = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2, "max_num_seqs": 8, "enforce_eager": True}
    assert digest(model, engine=fast, pool={"min": 2, "max": 9}, bulk_from=0, watchdog_s=5) == plain
    assert digest(model, engine={"dtype": "bfloat16", "quantization": None}) == plain


def test_number_format_and_adapter_make_other_teachers(model: Path, adapter: Path) -> None:
    others = [
        digest(model), digest(model, engine={"dtype": "float16"}), digest(model, engine={"quantization": "fp8"}),
        digest(model, engine={"quantization": "bitsandbytes"}), digest(model, adapter=str(adapter)),
        digest(model, adapter=str(adapter), engine={"quantization": "fp8"}),
    ]  # fmt: skip
    assert len(set(others)) == len(others)
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    assert digest(model, adapter=str(adapter)) not in others


class Noted:
    """Endpoints that only note what is up."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def up(self, models: list[Served]) -> str:
        self.names += [model.name for model in models]
        return f"http://127.0.0.1:9/{models[0].name}/v1"

    def down(self, base_url: str) -> None:
        self.names.remove(base_url.split("/")[-2])


@pytest.fixture
def lent(model: Path, tmp_path: Path) -> VLLMTeacher:
    """A student: the model's files, and other weights."""
    folder = tmp_path / "student"
    shutil.copytree(model, folder)
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}other")
    return VLLMTeacher(kind="vllm", model=str(folder))


def test_a_lent_student_is_its_files_and_gone_when_its_time_is_over(model: Path, lent: VLLMTeacher) -> None:
    made = faculty(model)
    with made.lent("student", lent):
        assert made.identity("student").digest == made.model("student").digest != made.identity("main").digest
    with pytest.raises(KeyError):
        made.identity("student")
    with pytest.raises(AssertionError, match="a teacher already"), made.lent("main", lent):
        pass


def test_its_endpoint_goes_and_a_teachers_stays(model: Path, lent: VLLMTeacher) -> None:
    made, endpoints = faculty(model), Noted()
    vars(made)["endpoints"] = endpoints
    up: list[list[str]] = []

    async def ask(name: str) -> None:
        async with made.warm(name):
            up.append(list(endpoints.names))

    asyncio.run(ask("main"))
    with made.lent("student", lent):
        asyncio.run(ask("student"))
    assert up == [["main"], ["main", "student"]]
    assert endpoints.names == ["main"]
