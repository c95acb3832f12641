"""One model's pass over held-out prompts, through its endpoint: likelihood, its own answer, and a refused prompt."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, Asked, Wire, says

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Engine, Evaluate, Reasoning, Sampling
from pipelines.core.hashing import key_of, seed_of
from pipelines.core.progress import Progress
from pipelines.core.recipe import recipe_of
from pipelines.core.records import Answer, Completion, Dropped, EvalAnswer
from pipelines.core.storage import Folder
from pipelines.train.examples import encode
from serving import api as client
from serving.evaluate import TEACHER, _Asked, answer_in, scores
from serving.examinees import Examinee, at_endpoint, behind_api
from serving.faculty import ClusterFaculty
from serving.served import Served

REFERENCE = Answer("a1", "i1", "c1", "Name a colour.", "Deep blue.", "stop")
CONFIG = Evaluate(teacher="big", sampling=Sampling(max_tokens=9), samples=2)


def test_a_model_is_scored_on_the_reference_and_answers_by_its_own_template(
    server: ApiServer, tokenizer: ChatTokenizer, tiny_model_folder: Path, quiet: Progress
) -> None:
    def behave(asked: Asked) -> Wire:
        if asked.body.get("messages", [{}])[0].get("content") == "Refused?":
            return Wire(400, b"no")
        if "messages" in asked.body:
            first = asked.body["seed"] == seed_of(key_of("a1", 17, 0))
            return says("Deep red", "length") if first else says("a b c a b c")
        told = [None, *({str(t): {"logprob": -0.5}, "0": {"logprob": -0.1}} for t in asked.prompt[1:])]
        return says("x", prompt_logprobs=told)

    server.behave = behave
    config = Evaluate(teacher="main", sampling=Sampling(max_tokens=9), samples=2)
    served = Served("student-1", tiny_model_folder, "d", Engine())
    asking = _Asked(at_endpoint("student", server.url, served, tokenizer), config, 17, tokenizer, quiet)
    reference = Answer("a1", "i1", "c1", "Name a colour.", "Deep blue.", "stop")
    refused = Answer("a2", "i2", "c2", "Refused?", "No.", "stop")
    (answer,), (dropped,) = asyncio.run(asking.all([reference, refused]))
    example = encode(reference, tokenizer)
    learnt = sum(weight > 0 for weight in example.weights)
    assert (answer.model, answer.text, answer.finish_reason) == ("student", "Deep red", "length")
    assert (answer.nll, answer.reference_tokens) == (pytest.approx(0.5 * learnt), learnt)
    assert (dropped.reason, dropped.text, dropped.detail) == ("request failed", "Refused?", "student: 400: no")
    (scored,) = [a for a in server.asked if a.prompt == list(example.token_ids)]
    asked, other = [a for a in server.asked if a.prompt == "Name a colour."]
    assert {asked.body["seed"], other.body["seed"]} == {seed_of(key_of("a1", 17, n)) for n in (0, 1)}
    # ROUGE-L of "deep red" with "deep blue" is 1/2, of the other 0; one of its four 3-grams is there twice.
    assert (answer.rouge_l, answer.repeated_3grams) == (pytest.approx(0.25), pytest.approx(0.125))
    assert (scored.path, asked.path) == ("/v1/completions", "/v1/chat/completions")
    assert (asked.body["model"], asked.body["max_tokens"]) == ("student-1", 9)
    assert quiet.tokens == len(example.token_ids) + 8


def test_answers_are_compared_without_their_thoughts() -> None:
    assert answer_in("<think>Warm?</think>\n\nRed.", Reasoning()) == "Red."
    assert answer_in("<think>Warm", Reasoning()) == "<think>Warm"
    assert answer_in("<think>Warm?</think>Red.", None) == "<think>Warm?</think>Red."


def likely(asked: Asked) -> Wire:
    """Every token half a nat away; whoever is asked for words says some."""
    if asked.body.get("prompt_logprobs") is None:
        return says("Deep red")
    return says("x", prompt_logprobs=[None, *({str(t): {"logprob": -0.5}} for t in asked.prompt[1:])])


def teacher_at(server: ApiServer, tokens: ChatTokenizer, runs: Folder, **spec: Any) -> Examinee:
    big = {"kind": "http", "base_url": server.url, "model": "big-1", "retries": 0, **spec}
    answers = {"teacher": "big"}
    data = {"name": "small", "method": "generate", "teachers": {"big": big}, "instructions": {"kind": "given"}}
    return behind_api(TEACHER, ClusterFaculty(recipe_of({**data, "answers": answers})), "big", tokens, runs)


def examine(
    model: Examinee, tokenizer: ChatTokenizer, quiet: Progress, config: Evaluate = CONFIG
) -> tuple[list[EvalAnswer], list[Dropped]]:
    return asyncio.run(_Asked(model, config, 17, tokenizer, quiet).all([REFERENCE]))


def test_a_chat_api_tells_no_likelihood(
    server: ApiServer, tokenizer: ChatTokenizer, runs: Folder, quiet: Progress
) -> None:
    server.behave = likely
    (answer,), dropped = examine(teacher_at(server, tokenizer, runs), tokenizer, quiet)
    assert dropped == []
    assert {a.path for a in server.asked} == {"/v1/chat/completions"}
    assert (answer.model, answer.text, answer.nll, answer.reference_tokens) == (TEACHER, "Deep red", 0, 0)
    assert answer.rouge_l == pytest.approx(0.5)
    (score,) = scores([answer], CONFIG, 17)
    assert (score.nll, score.tokens, score.rouge_l.mean) == (None, 0, pytest.approx(0.5))


def test_a_vllm_api_with_the_students_tokens_is_scored_in_them(
    server: ApiServer, tokenizer: ChatTokenizer, tiny_model_folder: Path, runs: Folder, quiet: Progress
) -> None:
    server.behave = likely
    model = teacher_at(server, tokenizer, runs, api="vllm", tokenizer=str(tiny_model_folder))
    (answer,), _ = examine(model, tokenizer, quiet)
    learnt = sum(weight > 0 for weight in encode(REFERENCE, tokenizer).weights)
    assert (answer.nll, answer.reference_tokens) == (pytest.approx(0.5 * learnt), learnt)


def test_a_model_with_other_tokens_is_not_scored_in_the_students(
    server: ApiServer, tokenizer: ChatTokenizer, tiny_model_folder: Path, tmp_path: Path, runs: Folder, quiet: Progress
) -> None:
    server.behave = likely
    other = tmp_path / "other"
    shutil.copytree(tiny_model_folder, other)
    written = json.loads((other / "tokenizer.json").read_text())
    vocabulary = written["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(written))
    behind = teacher_at(server, tokenizer, runs, api="vllm", tokenizer=str(other))
    ours = at_endpoint(TEACHER, server.url, Served("big-1", other, "d", Engine()), tokenizer)
    for model in (behind, ours):
        (answer,), _ = examine(model, tokenizer, quiet)
        assert (answer.text, answer.reference_tokens) == ("Deep red", 0)
    assert all(a.body.get("prompt_logprobs") is None for a in server.asked)


def test_what_an_api_said_is_bought_once_and_kept_by_its_sampling(
    server: ApiServer, tokenizer: ChatTokenizer, runs: Folder, quiet: Progress
) -> None:
    first = examine(teacher_at(server, tokenizer, runs), tokenizer, quiet)
    assert len(server.asked) == 2  # samples
    again = teacher_at(server, tokenizer, runs)
    assert examine(again, tokenizer, quiet) == first
    assert len(server.asked) == 2
    examine(again, tokenizer, quiet, CONFIG.model_copy(update={"sampling": Sampling(max_tokens=8)}))
    assert len(server.asked) == 4
    (ledger,) = (runs.child(name) for name in runs.folders())
    said = [c for part in ledger.files() for c in ledger.read_records(part, Completion)]
    assert len({c.id for c in said}) == len(said) == 4


def test_a_refused_prompt_costs_its_row(
    server: ApiServer, tokenizer: ChatTokenizer, runs: Folder, quiet: Progress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(client, "FIRST_WAIT_S", 0.001)
    server.behave = lambda asked: Wire(400, b"no")
    answers, (dropped,) = examine(teacher_at(server, tokenizer, runs), tokenizer, quiet)
    assert (answers, dropped.reason, dropped.detail) == ([], "request failed", "teacher: 400: no")
