"""Benchmarks over a real endpoint: what vLLM tells through it is what transformers' own forward makes of the same ids.

A tiny random model in float32. It knows nothing, so no known answer is asked of it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.core import runner
from pipelines.core.chat import ChatTokenizer
from pipelines.core.parts import rows_of
from pipelines.core.progress import Progress
from pipelines.core.recipe import Compare, recipe_of
from pipelines.core.records import BenchmarkAnswer, Likelihood
from pipelines.core.runner import Finished
from pipelines.core.storage import Folder
from pipelines.generate.ledger import Ledger
from pipelines.generate.likelihood import likelihood_request
from pipelines.recipes import compare
from serving.faculty import ClusterFaculty

pytestmark = pytest.mark.engine

NATS = 1e-3  # per token: both in float32, with kernels of their own
QUESTIONS = ("Describe the bread", "Explain a recipe", "Write a short letter", "Compare the engine of the clock")
CHOICES = (" near the river", " without the garden", " about an old bridge — 你好", " of the books")
TASK = {"dataset_path": "json", "test_split": "test", "doc_to_text": "{{question}}", "metadata": {"version": 1}}
TASKS: dict[str, dict[str, Any]] = {
    "choose": {
        **TASK, "output_type": "multiple_choice", "doc_to_choice": "{{choices}}", "doc_to_target": "{{answer}}",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    },
    "write": {
        **TASK, "output_type": "generate_until", "doc_to_target": "{{question}}",
        "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 12, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tiny_served: Path, tmp_path_factory: pytest.TempPathFactory) -> Compare:
    folder = tmp_path_factory.mktemp("tasks")
    rows = [{"question": question, "choices": CHOICES, "answer": n} for n, question in enumerate(QUESTIONS)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, task in TASKS.items():  # JSON is YAML
        data = {"task": name, "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}}}
        (folder / f"{name}.yaml").write_text(json.dumps({**task, **data}))
    engine = {"dtype": "float32", "max_model_len": 512, "max_num_seqs": 16, "enforce_eager": True}
    read = recipe_of({
        "name": "benchmark",
        "method": "compare",
        "teachers": {"tiny": {"kind": "vllm", "model": str(tiny_served), "engine": engine}},
        "answers": {"models": ["tiny"]},
        "benchmarks": {"tasks": [str(folder)], "known_answers": 0, "chat_template": True},
    })  # fmt: skip
    assert isinstance(read, Compare)
    return read


@pytest.fixture(scope="module")
def ran(recipe: Compare, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Finished], Folder]:
    runs = Folder(str(tmp_path_factory.mktemp("runs")))
    faculty = ClusterFaculty(recipe)
    faculty.hold_port(None)
    try:
        finished = runner.run(compare.stages(recipe, faculty), runs, runs.child("run-test"), Progress())
    finally:
        faculty.close()
    return {f.stage.name: f for f in finished}, runs


@pytest.fixture(scope="module")
def model(tiny_served: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_served, dtype="float32").eval()


@pytest.fixture(scope="module")
def tokenizer(tiny_served: Path) -> ChatTokenizer:
    return ChatTokenizer(str(tiny_served))


def logprobs(model: Any, ids: Sequence[int]) -> np.ndarray:
    """Of every token after each of these, by the model's own forward."""
    import torch

    with torch.inference_mode():
        found = model(torch.tensor([list(ids)])).logits[0].log_softmax(-1)
    return np.asarray(found)


def test_the_endpoint_shows_what_is_known_beforehand(ran: Any) -> None:
    findings = ran[0]["benchmark_check_tiny"].done.manifest["facts"]["findings"]
    assert {each["check"] for each in findings} >= {
        "tokens", "log-probabilities", "additive", "known answers", "greedy", "max_tokens", "chat template", "reply",
    }  # fmt: skip
    assert not any(each["fault"] for each in findings)


def test_served_likelihoods_are_the_local_ones(ran: Any, recipe: Compare, model: Any, tokenizer: ChatTokenizer) -> None:
    stages, runs = ran
    teacher = ClusterFaculty(recipe).identity("tiny")
    rows = {
        row.document: row
        for row in rows_of(stages["benchmark_tiny"].done.folder, BenchmarkAnswer)
        if row.task == "choose"
    }
    ledger = Ledger(runs, teacher, Likelihood)
    for number, question in enumerate(QUESTIONS):
        context, sums = tokenizer.encode(question), []
        for choice in CHOICES:
            ids = tokenizer.encode(question + choice)
            request = likelihood_request(teacher, context, ids[len(context) :])
            served = ledger.find([request.id])[request.id]
            local = logprobs(model, ids)
            each = [local[n - 1, ids[n]] for n in range(len(context), len(ids))]
            assert served.logprobs == pytest.approx(each, abs=NATS)
            assert served.is_greedy == all(local[n - 1].argmax() == ids[n] for n in range(len(context), len(ids)))
            sums.append(sum(each))
        assert rows[number].said == str(int(np.argmax(sums)))
        assert rows[number].values == (float(np.argmax(sums) == number),)


def test_what_is_written_is_what_the_local_model_writes(ran: Any, model: Any, tokenizer: ChatTokenizer) -> None:
    rows = {
        row.document: row
        for row in rows_of(ran[0]["benchmark_tiny"].done.folder, BenchmarkAnswer)
        if row.task == "write"
    }
    for number, question in enumerate(QUESTIONS):
        ids = tokenizer.encode(tokenizer.render([{"role": "user", "content": question}], for_answer=True))
        written: list[int] = []
        while len(written) < 12 and tokenizer.eos_id not in written:
            written.append(int(logprobs(model, [*ids, *written])[-1].argmax()))
        local, _, _ = tokenizer.decode(written).partition("\n\n")
        assert rows[number].said.strip("�") == local.strip("�")  # half a character at the end


def test_the_figures_are_the_harnesss(ran: Any) -> None:
    facts = ran[0]["benchmark_tiny"].done.manifest["facts"]
    told = {(each["benchmark"], each["metric"]): each["value"] for each in facts["figures"]}
    assert set(told) == {("choose", "acc"), ("write", "exact_match")}
    assert 0 <= told["choose", "acc"] <= 1
    assert facts["request_seconds"] > 0
