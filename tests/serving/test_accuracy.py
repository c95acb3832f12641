"""Accuracy on multiple-choice questions: figures by hand, and what is asked of models, kept, and asked again."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from api_server import ApiServer, Asked, Wire, says

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Accuracy, Engine, Learn
from pipelines.core.errors import UserError
from pipelines.core.parts import dropped_of, rows_of, write_rows
from pipelines.core.progress import Progress
from pipelines.core.records import ChoiceAnswer, Completion, Conversation, Dropped, Part, Question
from pipelines.core.stage import Outcome, StageRun
from pipelines.core.storage import Folder
from pipelines.generate.teacher import Request, RequestFailed
from pipelines.train.choices import source_of
from pipelines.train.examples import of_conversation
from serving import accuracy
from serving.accuracy import AFTER, BEFORE, MAJORITY, STAGE, ask, by_majority, gain, run, scores
from serving.api import Address, Api
from serving.choosing import chooser
from serving.served import Served

CONFIG = Accuracy(max_tokens=5, resamples=200)
PREFIX = "predict: "


def question(id: str, answer: int, choices: Sequence[str] = ("red", "blue", "a bee"), part: Part = "test") -> Question:
    return Question(id, id, f"Which is {id}?", "", tuple(choices), answer, part)


def row(id: str, model: str, written: int, likeliest: int, answer: int) -> ChoiceAnswer:
    return ChoiceAnswer(f"{model}-{id}", id, model, "", "stop", written, likeliest, answer)


QUESTIONS = [
    question("t1", 2, part="train"), question("t2", 2, part="train"), question("t3", 0, part="train"),
    question("q1", 0), question("q2", 1), question("q3", 2), question("q4", 2),
]  # fmt: skip
ROWS = [
    row("q1", BEFORE, -1, 0, 0), row("q2", BEFORE, 0, 1, 1), row("q3", BEFORE, -1, 0, 2), row("q4", BEFORE, 2, 2, 2),
    row("q1", AFTER, 0, 0, 0), row("q2", AFTER, 1, 1, 1), row("q3", AFTER, 2, 0, 2), row("q4", AFTER, 1, 1, 2),
]  # fmt: skip


def test_shares_of_right_answers_by_hand() -> None:
    before, after, majority = scores(ROWS, QUESTIONS, CONFIG, 17)
    assert [s.model for s in (before, after, majority)] == [BEFORE, AFTER, MAJORITY]
    assert (before.text.mean, before.likelihood.mean, before.rows) == (0.25, 0.75, 4)
    assert (after.text.mean, after.likelihood.mean, after.rows) == (0.75, 0.5, 4)
    assert (majority.text.mean, majority.likelihood, majority.rows) == (0.5, majority.text, 4)
    assert before.text.low <= 0.25 < before.text.high <= 1


def test_the_gain_is_over_the_same_questions() -> None:
    found = gain(ROWS, CONFIG, 17)
    assert found is not None
    assert (found.text.share.mean, found.likelihood.share.mean, found.rows) == (0.5, -0.25, 4)
    # By text q1, q2 and q3 are won and q4 is lost: variance 1 over 4 questions, with one degree of freedom less.
    assert found.text.smallest == pytest.approx(2.8 * np.sqrt(1 / 4))
    assert found.likelihood.smallest == pytest.approx(2.8 * 0.25)
    fewer = gain(ROWS[2:], CONFIG, 17)
    assert fewer is not None
    assert (fewer.rows, fewer.text.share.mean) == (2, 0.0)
    assert gain(ROWS[3:], CONFIG, 17) is None
    assert [s.model for s in scores(ROWS[:4], QUESTIONS, CONFIG, 17)] == [BEFORE, MAJORITY]


def test_the_majority_is_a_text_where_all_choices_are_the_same_and_else_a_place() -> None:
    one, other = ("yes", "no", "maybe"), ("no", "maybe", "yes")
    same = [
        question("t1", 0, one, "train"), question("t2", 2, other, "train"), question("t3", 1, one, "train"),
        question("b", 2, other), question("a", 2, one), question("c", 0, one),
    ]  # fmt: skip
    assert by_majority(same) == [False, True, True]
    assert by_majority([*same, question("d", 0, ("yes", "perhaps"))]) == [False, False, True, True]


class Scripted:
    """A chooser that writes by the question, likes its second option, and fails where the test wants it to."""

    def __init__(self, says: dict[str, str], refuses: str = "") -> None:
        self._says, self._refuses = says, refuses
        self.asked: list[Request] = []

    async def write(self, request: Request) -> Completion:
        self.asked.append(request)
        (said,) = (text for key, text in self._says.items() if f"Which is {key}?" in request.prompt)
        return Completion(request.id, "", request.prompt, said, (), "stop", 7, 2)

    async def likelihoods(self, source: str, options: Sequence[str]) -> list[float]:
        if self._refuses and self._refuses in source:
            raise RequestFailed("400: no")
        return [-1.0 if n == 1 else -2.0 - n for n in range(len(options))]


def test_only_the_very_text_of_an_option_counts_as_written(quiet: Progress) -> None:
    said = {"q1": " red\n", "q2": "Blue", "q3": "a  bee", "q4": "red blue"}
    model = Scripted(said, refuses="Which is q4?")
    answers, dropped = asyncio.run(ask(model, AFTER, QUESTIONS[3:], PREFIX, 5, quiet))
    assert [(a.question_id, a.written, a.likeliest, a.answer) for a in answers] == [
        ("q1", 0, 1, 0), ("q2", -1, 1, 1), ("q3", -1, 1, 2)
    ]  # fmt: skip
    assert [a.text for a in answers] == [said[a.question_id] for a in answers]
    assert [(d.reason, d.detail) for d in dropped] == [("request failed", f"{AFTER}: 400: no")]
    assert model.asked[0].prompt == source_of(PREFIX, QUESTIONS[3])
    assert {(r.is_chat, r.sampling.temperature, r.sampling.max_tokens) for r in model.asked} == {(True, 0, 5)}
    assert quiet.tokens == 3 * 9


class AtServer:
    """Endpoints that are all the test's server, and only note what is up."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.started: list[str] = []
        self.ended: list[str] = []

    def up(self, models: list[Served]) -> str:
        self.started += [model.name for model in models]
        return self._url

    def down(self, base_url: str) -> None:
        self.ended.append(base_url)


Asks = Callable[[], tuple[Outcome, StageRun, AtServer]]


@pytest.fixture
def asks(server: ApiServer, tiny_t5: Path, runs: Folder, stage_run: Callable[..., StageRun]) -> Asks:
    """Runs the stage with a student and four questions, at the test's server, two at a time."""
    write_rows(runs.child("questions"), QUESTIONS, Question)

    def make() -> tuple[Outcome, StageRun, AtServer]:
        endpoints: Any = AtServer(server.url)
        stage = stage_run(STAGE, questions=runs.child("questions"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(accuracy, "SHARD_ROWS", 2)
            return (
                run(CONFIG, PREFIX, endpoints, Served(AFTER, tiny_t5, "d", Engine()), "bare", stage),
                stage,
                endpoints,
            )

    return make


def chooses(asked: Asked) -> Wire:
    """Any question is answered with "red", and the last option is the likeliest."""
    if asked.path == "/v1/likelihoods":
        return says("", target_logprobs=[float(n) for n in range(len(asked.body["targets"]))])
    return says("red")


def test_a_student_is_asked_once_and_its_endpoint_goes(server: ApiServer, asks: Asks) -> None:
    server.behave = chooses
    outcome, stage, endpoints = asks()
    assert (endpoints.started, endpoints.ended) == ([AFTER], [server.url])
    assert (outcome.rows, outcome.dropped, len(server.asked)) == (4, {}, 8)
    rows = list(rows_of(stage.folder, ChoiceAnswer))
    assert {(r.model, r.written, r.likeliest) for r in rows} == {(AFTER, 0, 2)}
    assert outcome.facts["accuracy"] == {"text": 0.25, "likelihood": 0.5}
    assert (outcome.facts["majority"], outcome.facts["questions"]) == (0.5, 4)
    assert outcome.facts["parameters"] > 1000
    again, _, endpoints = asks()
    assert (again, endpoints.started, len(server.asked)) == (outcome, [], 8)


def test_a_rerun_asks_only_what_is_missing(server: ApiServer, asks: Asks) -> None:
    def ends_after_the_first_two(asked: Asked) -> Wire:
        return chooses(asked) if len(server.asked) <= 4 else Wire(401, b"no")

    server.behave = ends_after_the_first_two
    with pytest.raises(UserError):
        asks()
    before = len(server.asked)
    refused: list[str] = []

    def refuses_one(asked: Asked) -> Wire:
        if "prompt" in asked.body and not refused:
            refused.append(asked.prompt)
        return Wire(400, b"no") if asked.body.get("prompt") in refused else chooses(asked)

    server.behave = refuses_one
    outcome, stage, _ = asks()
    assert len(server.asked) - before == 3  # two questions, one of which is not asked on
    assert (outcome.rows, outcome.dropped) == (3, {"request failed": 1})
    (dropped,) = dropped_of(stage.folder)
    assert dropped.detail == f"{AFTER}: 400: no"


def test_an_encoder_decoder_reads_a_question_once_for_all_options(server: ApiServer, tiny_t5: Path) -> None:
    server.behave = chooses
    tokenizer, source = ChatTokenizer(str(tiny_t5), "bare"), source_of(PREFIX, QUESTIONS[3])
    assert likelihoods(server, Served("t5", tiny_t5, "d", Engine()), source) == [0.0, 1.0, 2.0]
    (asked,) = server.asked
    assert tokenizer.decode_whole(asked.body["prompt_ids"]).endswith("a bee</s>")
    assert asked.body["targets"] == [tokenizer.encode_raw(option) for option in QUESTIONS[3].choices]


def test_a_causal_model_is_scored_on_the_words_and_the_end_that_it_learnt(
    server: ApiServer, tiny_model_folder: Path, tokenizer: ChatTokenizer
) -> None:
    told = {token: -n / 100 for n, token in enumerate(sorted(tokenizer.vocabulary().values()))}

    def likely(asked: Asked) -> Wire:
        ids = asked.body["vllm_xargs"]["forced_tokens"]
        return says("x", token_ids=ids, logprobs={"token_logprobs": [told[t] for t in ids]})

    server.behave = likely
    source = source_of(PREFIX, QUESTIONS[3])
    found = likelihoods(server, Served("llama", tiny_model_folder, "d", Engine()), source)
    for option, value in zip(QUESTIONS[3].choices, found, strict=True):
        example = of_conversation(Conversation("", "", (source, option), "", "{}"), tokenizer, Learn(), 999)
        assert not isinstance(example, Dropped)
        learnt = [t for t, weight in zip(example.token_ids, example.weights, strict=True) if weight]
        assert tokenizer.decode_whole(learnt) == f"{option}<|im_end|>"
        assert value == pytest.approx(sum(told[t] for t in learnt))
        assert list(example.token_ids[: -len(learnt)]) in [asked.prompt for asked in server.asked]


def test_a_server_that_writes_what_it_likes_is_not_taken_for_one_that_chooses(
    server: ApiServer, tiny_model_folder: Path
) -> None:
    server.behave = lambda asked: says("x", token_ids=[1, 2], logprobs={"token_logprobs": [-0.1, -0.2]})
    with pytest.raises(RequestFailed, match="other tokens than were to be written"):
        likelihoods(server, Served("llama", tiny_model_folder, "d", Engine()), source_of(PREFIX, QUESTIONS[3]))


def test_a_question_that_is_too_long_costs_itself(server: ApiServer, tiny_t5: Path) -> None:
    with pytest.raises(RequestFailed, match=r"'red' after its question: \d+ tokens to read .* max_length is 20"):
        likelihoods(server, Served("t5", tiny_t5, "d", Engine(max_model_len=20)), source_of(PREFIX, QUESTIONS[3]))
    assert server.asked == []


def likelihoods(server: ApiServer, model: Served, source: str) -> list[float]:
    async def asked() -> list[float]:
        template = "bare" if ChatTokenizer(str(model.folder)).is_encoder_decoder else "chat"
        async with Api(Address(server.url, model.name)) as api:
            return await chooser(api, model, template).likelihoods(source, QUESTIONS[3].choices)

    return asyncio.run(asked())
