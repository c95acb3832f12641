"""A tiny random T5 behind Serve, against transformers' own greedy writing and a plain forward, in fp32."""

import asyncio
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from cluster.session import Session, session
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Engine, Sampling
from pipelines.core.records import Completion
from pipelines.generate.teacher import Request
from serving.api import Address, Api
from serving.choosing import Chooser, chooser
from serving.door import Door
from serving.encoder_decoder import Model
from serving.endpoints import Endpoints, held_port
from serving.holding import holding
from serving.served import Served

LONGEST = 64
SOURCES = (
    "Describe the bread near the river.",
    "Which of the books of the library lists the islands behind the market before winter?",
    "Bread?",
    "Compare the engine of the clock with the violin.",
)
OPTIONS = ("Bread.", "An old bridge between two islands, and a recipe.", "the garden")


@pytest.fixture(scope="module")
def tokens(tiny_t5: Path) -> ChatTokenizer:
    return ChatTokenizer(str(tiny_t5), "bare")


@pytest.fixture(scope="module")
def folder(tiny_t5: Path, tokens: ChatTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny T5 with weights so wild that each source is answered otherwise, and some answers end."""
    folder = shutil.copytree(tiny_t5, tmp_path_factory.mktemp("wild") / "t5")
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_t5, dtype=torch.float32)
    torch.manual_seed(3)
    with torch.no_grad():
        model.shared.weight.normal_()
        model.shared.weight[tokens.eos_id] *= 4
        for block in model.decoder.block:
            block.layer[1].EncDecAttention.o.weight *= 30
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def local(folder: Path) -> Any:
    return AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32)


def greedy(local: Any, ids: Sequence[int], most: int) -> list[int]:
    """What transformers writes, one prompt at a time."""
    written = local.generate(input_ids=torch.tensor([list(ids)]), max_new_tokens=most, do_sample=False)
    return [int(token) for token in written[0, 1:]]


def likelihood(local: Any, ids: Sequence[int], target: Sequence[int]) -> float:
    """By transformers' own loss."""
    with torch.inference_mode():
        mean = local(input_ids=torch.tensor([list(ids)]), labels=torch.tensor([list(target)])).loss
    return -float(mean) * len(target)


def test_a_batch_says_what_each_of_its_requests_would(folder: Path, tokens: ChatTokenizer, local: Any) -> None:
    model = Model(str(folder), "float32")
    prompts = [tokens.encode_raw(source) for source in SOURCES]
    targets = [tokens.encode_raw(option) for option in OPTIONS]
    asked = [(ids, most) for ids, most in zip(prompts, (3, 9, 20, 1), strict=True)]
    answers = model.write(asked)
    assert {written.ended for written in answers} == {True, False}
    for written, (ids, most) in zip(answers, asked, strict=True):
        assert [*written.ids, *[tokens.eos_id] * written.ended] == greedy(local, ids, most)
    told = model.likelihoods([(prompts[0], targets), (prompts[1], targets[:1]), (prompts[2], targets[::-1])])
    expected = [
        [likelihood(local, prompts[0], target) for target in targets],
        [likelihood(local, prompts[1], targets[0])],
        [likelihood(local, prompts[2], target) for target in targets[::-1]],
    ]
    for found, wanted in zip(told, expected, strict=True):
        assert found == pytest.approx(wanted, abs=1e-3)


@pytest.fixture(scope="module")
def served(folder: Path) -> Served:
    return Served("t5", folder, "d", Engine(dtype="float32", max_model_len=LONGEST))


def test_an_encoder_decoder_has_no_other_beside_it(served: Served, tiny_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="served alone"):
        holding([served, Served("other", tiny_model_folder, "o", Engine())], Session("", tmp_path, 0, 1), Door())


@pytest.fixture(scope="module")
def base_url(served: Served) -> Iterator[str]:
    with session() as live, held_port(None) as port:
        endpoints = Endpoints(live, port)
        yield endpoints.up([served])
        endpoints.close()


@pytest.mark.engine
def test_what_is_asked_at_once_is_answered_as_if_it_came_alone(
    base_url: str, served: Served, tokens: ChatTokenizer, local: Any
) -> None:
    async def one(model: Chooser, source: str) -> tuple[Completion, list[float]]:
        request = Request(source, source, True, Sampling(temperature=0, max_tokens=9))
        return await model.write(request), await model.likelihoods(source, OPTIONS)

    async def everything() -> list[tuple[Completion, list[float]]]:
        async with Api(Address(base_url, "t5")) as api:
            model = chooser(api, served, "bare")
            return await asyncio.gather(*(one(model, source) for source in SOURCES * 4))

    for source, (said, told) in zip(SOURCES * 4, asyncio.run(everything()), strict=True):
        ids = tokens.encode_raw(source)
        expected = greedy(local, ids, 9)
        assert said.text == tokens.decode(expected)
        assert said.finish_reason == ("stop" if expected[-1] == tokens.eos_id else "length")
        assert (said.prompt_tokens, said.output_tokens) == (len(ids), len(expected))
        assert told == pytest.approx([likelihood(local, ids, tokens.encode_raw(o)) for o in OPTIONS], abs=1e-3)


JSON = {"content-type": "application/json"}
GOOD: dict[str, Any] = {"model": "t5", "prompt": "Bread?", "max_tokens": 4, "temperature": 0}
SCORE: dict[str, Any] = {"model": "t5", "prompt_ids": [5, 1], "targets": [[6, 1]]}


@pytest.mark.engine
@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("completions", {**GOOD, "temperature": 0.7}, 400, "ask with temperature 0"),
        ("completions", {"model": "t5", "prompt": "Bread?"}, 400, "ask with temperature 0"),
        ("completions", {**GOOD, "model": "bart"}, 404, "there is no such model here; there is t5"),
        ("completions", {**GOOD, "prompt": [5] * (LONGEST + 1)}, 400, "prompt: 65 tokens; from 1 to 64"),
        ("completions", {**GOOD, "prompt": []}, 400, "prompt: 0 tokens"),
        ("completions", {**GOOD, "prompt": [10**30]}, 400, "prompt"),
        ("completions", {**GOOD, "max_tokens": 0}, 400, "max_tokens"),
        ("completions", {**GOOD, "max_tokens": 9999}, 400, "max_tokens: 9999; at most 64"),
        ("completions", {**GOOD, "stop": ["x"]}, 400, "stop: Extra inputs"),
        ("completions", {**GOOD, "temperature": float("nan")}, 400, "temperature"),
        ("completions", {**GOOD, "prompt": "\ud800"}, 400, "prompt: not a text in Unicode"),
        ("completions", ["no object"], 400, "not a JSON object"),
        ("likelihoods", {**SCORE, "prompt_ids": [-1]}, 400, "prompt_ids: a token id is not from 0 to"),
        ("likelihoods", {**SCORE, "targets": [[6], []]}, 400, "targets[1]: 0 tokens"),
        ("likelihoods", {**SCORE, "targets": []}, 400, "targets"),
        ("likelihoods", {"model": "t5"}, 400, "prompt_ids: Field required; body.targets: Field required"),
        ("chat/completions", GOOD, 404, "Not Found"),
    ],
)
def test_a_bad_request_is_refused_in_words_and_the_next_is_answered(
    base_url: str, path: str, body: Any, status: int, words: str
) -> None:
    with httpx2.Client(timeout=60) as client:
        refused = client.post(f"{base_url}/{path}", content=json.dumps(body), headers=JSON)
        answered = client.post(f"{base_url}/completions", json=GOOD)
    assert (refused.status_code, answered.status_code) == (status, 200)
    assert words in refused.json()["error"]["message"]


@pytest.mark.engine
def test_a_model_is_written_for_in_openais_shape(base_url: str, tokens: ChatTokenizer, local: Any) -> None:
    ids = tokens.encode_raw("Bread?")
    with httpx2.Client(timeout=60) as client:
        by_text = client.post(f"{base_url}/completions", json=GOOD).json()
        by_ids = client.post(f"{base_url}/completions", json={**GOOD, "prompt": ids}).json()
    assert (by_text["object"], by_text["model"]) == ("text_completion", "t5")
    assert by_text["choices"] == by_ids["choices"]
    usage = {"prompt_tokens": len(ids), "completion_tokens": len(greedy(local, ids, GOOD["max_tokens"]))}
    assert by_text["usage"] == {**usage, "total_tokens": sum(usage.values())}
