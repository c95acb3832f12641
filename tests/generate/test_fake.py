"""The fake teacher: the same words for the same request, and distributions that are ones."""

import asyncio

import numpy as np
import pytest

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Sampling
from pipelines.core.records import Completion, Instruction, SoftTargets
from pipelines.core.signals import unpack
from pipelines.generate.fake import TOP, FakeTeacher
from pipelines.generate.instances import exemplified, judge, labelled
from pipelines.generate.prompts import InstructionPrompt, Prompt
from pipelines.generate.teacher import ScoreRequest, TeacherId, score_request, write_request

TEACHER = TeacherId("main", "fake-digest")


@pytest.fixture
def fake(tokenizer: ChatTokenizer) -> FakeTeacher:
    return FakeTeacher(TEACHER.digest, tokenizer)


def write(fake: FakeTeacher, prompt: str, max_tokens: int = 1_000, ordinal: int = 0) -> Completion:
    request = write_request(TEACHER, prompt, Sampling(max_tokens=max_tokens), ordinal=ordinal)
    return asyncio.run(fake.write(request))


def score(fake: FakeTeacher, request: ScoreRequest) -> SoftTargets:
    return asyncio.run(fake.score(request))


def test_an_answer_depends_on_the_request_alone(fake: FakeTeacher, tokenizer: ChatTokenizer) -> None:
    said = write(fake, "Why?")
    again = FakeTeacher(TEACHER.digest, tokenizer)
    write(again, "Another first.")
    assert write(again, "Why?") == said
    assert write(fake, "Why?", ordinal=1).text != said.text
    assert (said.finish_reason, said.prompt_tokens, said.model) == (
        "stop", len(tokenizer.prompt_ids("Why?")), TEACHER.digest,
    )  # fmt: skip
    assert tokenizer.decode(said.token_ids) == said.text


def test_a_long_answer_is_cut(fake: FakeTeacher) -> None:
    whole, cut = write(fake, "Why?"), write(fake, "Why?", max_tokens=5)
    assert (len(cut.token_ids), cut.finish_reason) == (5, "length")
    assert len(whole.token_ids) > 5


def test_a_list_is_gone_on_with(fake: FakeTeacher) -> None:
    prompt = InstructionPrompt.load("numbered")
    shown = [
        Instruction("i", text, "", "seed", "train", (), "", "") for text in ("List ten rivers.", "Name two kings.")
    ]
    said = write(fake, prompt.render(shown))
    assert [line.split(".")[0] for line in said.text.splitlines()[1:]] == ["4", "5", "6"]
    reply = prompt.read(said.text, said.finish_reason, len(shown))
    assert (len(reply.candidates), reply.lost) == (4, ())


def test_a_reply_has_the_format_that_the_prompt_asks_for(fake: FakeTeacher) -> None:
    shown = [Instruction("i", text, "", "seed", "train", (), "", "Yes.") for text in ("List ten rivers.", "Name two.")]
    for name, found in (("triples", 3), ("tagged", 1), ("tagged-open", 1)):
        prompt = InstructionPrompt.load(name)
        said = write(fake, prompt.render(shown))
        reply = prompt.read(said.text, said.finish_reason, len(shown))
        assert (len(reply.candidates), reply.lost) == (found, ()), name
    for name, read in (("input-first", exemplified), ("output-first", labelled)):
        said = write(fake, Prompt.load(name, "instances", ["task"]).render(task="Name two."))
        judged = judge(read(said.text), False, 5, "t")
        assert [reason for _, reason in judged] == ["", ""], name
    short = Sampling(max_tokens=8)
    asked = [write_request(TEACHER, "One label?", short, is_chat=False, ordinal=n) for n in range(9)]
    assert {asyncio.run(fake.write(request)).text for request in asked} == {" Yes", " No"}


@pytest.mark.parametrize("k", [1, 4, 10_000])
def test_a_distribution_holds_the_token_that_is_there_and_at_most_all(
    fake: FakeTeacher, tokenizer: ChatTokenizer, k: int
) -> None:
    ids = tokenizer.encode("Describe the river near the bridge. 🍞")
    positions = range(1, len(ids))
    request = score_request(TEACHER, "e1", ids, positions, k)
    record = score(fake, request)
    assert record == score(fake, request)
    candidates, logprobs = unpack(record)
    assert record.positions == tuple(positions)
    assert candidates.shape == logprobs.shape == (len(ids) - 1, min(k, len(tokenizer.vocabulary())))
    assert candidates[:, 0].tolist() == ids[1:]
    np.testing.assert_allclose(np.exp(logprobs[:, 0]), TOP, rtol=1e-3)
    assert all(len(set(row)) == len(row) for row in candidates.tolist())
    assert (np.exp(logprobs).sum(axis=1) <= 1.0 + 1e-3).all()
    assert 0 <= candidates.min() <= candidates.max() < len(tokenizer.vocabulary())
