"""A student with an encoder: what is told of it before a run, what is refused, and what its tokens look like."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cluster.models import parameter_count
from pipelines.core.config import Learn
from pipelines.core.errors import UserError
from pipelines.core.recipe import recipe_of
from pipelines.core.runner import Planned
from pipelines.core.stage import Done
from pipelines.core.storage import Folder
from pipelines.runs import api, preflight, serve, show_tokens, sizes
from serving.door import Door
from serving.endpoints import Endpoints
from serving.faculty import ClusterFaculty
from serving.served import Served
from serving.shown import RowsFile


@pytest.fixture
def data(tiny_t5: Path, tiny_bart: Path, model: Path) -> dict[str, Any]:
    return {
        "name": "small",
        "method": "tune",
        "teachers": {
            "other": {"kind": "vllm", "model": str(tiny_t5)},
            "causal": {"kind": "vllm", "model": str(model)},
        },
        "data": {"sources": {"main": {}}, "held_out": 8},
        "student": {
            "init": {"kind": "model", "model": str(tiny_t5)},
            "learn": {"template": "bare"},
            "train": {"max_length": 128},
        },
    }


def check(data: dict[str, Any]) -> list[str]:
    recipe = recipe_of(deepcopy(data))
    faculty = ClusterFaculty(recipe)
    facts = preflight.local_facts(recipe, faculty)
    preflight.reach(recipe, faculty)
    return facts


def test_plan_tells_its_layers_size_and_both_sides_tokens(data: dict[str, Any], tiny_t5: Path, runs: Folder) -> None:
    told = "\n".join(api.plan(recipe_of(deepcopy(data)), runs.uri).facts)
    vocabulary = json.loads((tiny_t5 / "config.json").read_text())["vocab_size"]
    assert f"student: starts from {tiny_t5}: 2 + 2 layers, {vocabulary:,} tokens, 0 M parameters" in told
    assert "up to 192 examples and 49,152 tokens" in told  # 200 built-in tasks, 8 held out; 128 tokens a side
    assert "memory: student " in told


def test_its_size_is_that_of_its_weights(data: dict[str, Any], tiny_bart: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM

    buffers = AutoModelForSeq2SeqLM.from_pretrained(tiny_bart).final_logits_bias.numel()
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_bart)
    assert parameter_count(tiny_bart) == sum(p.numel() for p in model.parameters()) + buffers
    data["student"]["init"]["model"] = str(tiny_bart)
    assert any(": 2 + 2 layers, " in fact for fact in check(data))


@pytest.mark.parametrize(
    ("student", "words"),
    [
        ({"learn": {"template": "bare", "method": "im"}}, "what its encoder reads carries no loss"),
        ({"learn": {"template": "bare", "prompt_weight": 0.1}}, "what its encoder reads carries no loss"),
        ({"train": {"losses": {"kd": 1.0}}, "signals": "other"}, "'kd' is captured through vLLM"),
        ({"train": {"losses": {"attention": 1.0}}, "signals": "other"}, "'attention' is compared between causal"),
        ({"train": {"neftune_alpha": 5}}, "neftune_alpha: noise is for causal models"),
        ({"train": {"frozen_layers": 1}}, "frozen_layers: it is for models with one stack"),
        ({"init": {"kind": "pruned", "teacher": "other", "layers": 1}}, "kind: 'pruned' is for models with one stack"),
        (
            {"init": {"kind": "random", "teacher": "other", "layers": 1, "width": 8, "heads": 2}},
            "kind: 'random' is for models with one stack",
        ),
        ({"learn": {}}, "has no chat template"),
        ({"engine": {"quantization": "fp8"}}, "quantization and several GPUs are vLLM's"),
        (
            {"train": {"losses": {"kd": 1.0}, "kd": {"source": "online"}}, "signals": "causal"},
            "signals names 'causal'.*do not read alike",
        ),
    ],
)
def test_what_it_cannot_do_is_refused(data: dict[str, Any], student: dict[str, Any], words: str) -> None:
    data["student"] |= student
    with pytest.raises(UserError, match=words):
        check(data)


@pytest.mark.parametrize(
    "student",
    [
        {},
        {"train": {"losses": {"answer": 1.0, "base_kl": 0.1}, "freeze_embeddings": True}},
        {"train": {"losses": {"kd": 1.0}, "kd": {"source": "online"}}, "signals": "other"},
        {"train": {"lora": {"rank": 4}, "gradient_checkpointing": True, "zero_stage": 3, "workers": 2}},
    ],
)
def test_what_it_can_do_is_not(data: dict[str, Any], student: dict[str, Any]) -> None:
    data["student"] |= student
    check(data)


def test_a_causal_student_has_no_encoder_decoder_for_a_teacher(data: dict[str, Any], model: Path) -> None:
    online = {"losses": {"kd": 1.0}, "kd": {"source": "online"}}
    data["student"] = {"init": {"kind": "model", "model": str(model)}, "train": online, "signals": "other"}
    with pytest.raises(UserError, match="do not read alike"):
        check(data)


def test_more_tokens_than_it_has_positions_are_refused(data: dict[str, Any], tiny_bart: Path) -> None:
    data["student"] |= {"init": {"kind": "model", "model": str(tiny_bart)}, "train": {"max_length": 257}}
    with pytest.raises(UserError, match="257 is more than the 256 positions"):
        check(data)
    data["student"]["train"]["max_length"] = 256
    check(data)


def test_it_is_not_distilled(recipe_data: dict[str, Any], tiny_t5: Path) -> None:
    recipe_data["student"] = {"init": {"kind": "model", "model": str(tiny_t5)}}
    with pytest.raises(UserError, match=r"'distil' evaluates its student through vLLM.*use `method: tune`"):
        check(recipe_data)


def test_it_is_served_alone_and_asked_for_completions(
    data: dict[str, Any], tiny_t5: Path, runs: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(data)
    stages = api.stages_of(recipe, ClusterFaculty(recipe))
    done = Done(runs, {"facts": {"model": str(tiny_t5)}, "digest": "d"})
    planned = [Planned(stage, "done", done) for stage in stages]
    served: list[str] = []

    def up(_: Endpoints, models: list[Served], *, at_root: bool, rows: RowsFile) -> str:
        served.extend(model.name for model in models)
        return "http://here/v1"

    said: list[str] = []
    monkeypatch.setattr(serve.runner, "plan", lambda *_: planned)
    monkeypatch.setattr(ClusterFaculty, "endpoints", Endpoints(session=None))  # type: ignore[arg-type]
    monkeypatch.setattr(Endpoints, "up", up)
    monkeypatch.setattr(serve, "_wait", lambda: None)
    serve.serve(serve.ToServe(recipe, stages, runs.uri, Door(), said.append))
    assert served == ["student"]
    assert "http://here/v1/completions" in "".join(said)
    assert "browser" not in "".join(said), "it reads no chats, so it has no page"


def test_show_tokens_shows_both_sides(tiny_t5: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    data.write_text('[{"instruction": "Name a river.", "input": "", "output": "The old one."}]')
    shown = show_tokens.of_row(str(data), "alpaca", 0, Learn(template="bare"), str(tiny_t5))
    read, written = ([t for t in shown if t.side == side] for side in ("encoder", "decoder"))
    assert shown == [*read, *written]
    assert [t.role for t in read] == ["user"] * (len(read) - 1) + ["template"]
    assert read[-1].text == written[-1].text == "</s>"
    assert not any(t.ce_weight for t in read)
    assert [t.ce_weight for t in written] == [0.0] + [1.0] * (len(written) - 1)
    console = Console(record=True, width=80)
    console.print(show_tokens.coloured(shown))
    assert "encoder" in console.export_text()
    with pytest.raises(UserError, match="carries no loss"):
        show_tokens.of_row(str(data), "alpaca", 0, Learn(template="bare", method="im"), str(tiny_t5))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"is_encoder_decoder": True, "num_layers": 2, "num_decoder_layers": 3}, "2 + 3 layers"),
        ({"is_encoder_decoder": True, "num_layers": 2}, "2 + 2 layers"),
        (
            {"is_encoder_decoder": True, "encoder_layers": 6, "decoder_layers": 1, "num_hidden_layers": 6},
            "6 + 1 layers",
        ),
        ({"num_hidden_layers": 4}, "4 layers"),
    ],
)
def test_layers_are_counted_by_each_familys_names(header: dict[str, Any], words: str) -> None:
    assert sizes.layers(header) == words
