"""One model's pass over held-out prompts, through its endpoint: likelihood, its own answer, and a refused prompt."""

import asyncio

import pytest
from api_server import ApiServer, Asked, Wire, says

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Evaluate, Reasoning, Sampling
from pipelines.core.hashing import key_of, seed_of
from pipelines.core.progress import Progress
from pipelines.core.records import Answer
from pipelines.train.examples import encode
from serving.evaluate import _Asked, answer_in


def test_a_model_is_scored_on_the_reference_and_answers_by_its_own_template(
    server: ApiServer, tokenizer: ChatTokenizer, quiet: Progress
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
    asking = _Asked("student", server.url, "student-1", config, 17, tokenizer, quiet)
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
