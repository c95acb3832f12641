"""How texts become the tokens that are sent: one BOS, each token scored once, nothing cut, no setting left out."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from tokenizers import Tokenizer, processors

from pipelines.benchmark.served_lm import ServedLM
from pipelines.core.chat import ChatTokenizer
from pipelines.core.errors import UserError
from pipelines.core.records import Completion, Likelihood
from pipelines.generate.teacher import TeacherId


class Told:
    """An asker of nobody: a token's log-probability is its id, and what is written is its request's number."""

    teacher = TeacherId("tiny", "digest")

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def ask(self, label: str, requests: Sequence[Any], kind: type[Any]) -> dict[str, Any]:
        self.asked += requests
        if kind is Likelihood:
            return {r.id: Likelihood(r.id, tuple(map(float, r.token_ids[r.start :])), False) for r in requests}
        ids = dict.fromkeys(r.id for r in requests)
        return {id: Completion(id, "", "", f"answer {n}", (), "stop", 1, 1) for n, id in enumerate(ids)}


@pytest.fixture
def opening(tiny_model_folder: Path, tmp_path: Path) -> ChatTokenizer:
    """The tiny tokenizer, which opens every document with a BOS, as does its chat template."""
    folder = tmp_path / "opening"
    shutil.copytree(tiny_model_folder, folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    id = tokenizer.token_to_id("<|im_start|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", id)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "bos_token": "<|im_start|>"}))
    return ChatTokenizer(str(folder))


def lm(tokenizer: ChatTokenizer, window: int | None = 64) -> tuple[ServedLM, Told]:
    told = Told()
    asker: Any = told
    return ServedLM(asker, tokenizer, window, "small"), told


def instance(kind: Any, *arguments: Any) -> Instance:
    return Instance(kind, {}, arguments, 0, ("small", 0, 1))


def test_a_document_has_one_bos(opening: ChatTokenizer, tokenizer: ChatTokenizer) -> None:
    model, told = lm(opening, 512)
    bos = opening.bos_id
    assert bos is not None
    assert model.tok_encode("bread") == [bos, *opening.encode("bread")]
    rendered = model.apply_chat_template([{"role": "user", "content": "bread"}])
    assert rendered.startswith("<|im_start|>")
    assert model.tok_encode(rendered) == opening.encode(rendered)
    model.generate_until([instance("generate_until", rendered, {"until": []})])
    assert told.asked[-1].prompt_ids(opening) == opening.encode(rendered)
    assert lm(tokenizer)[0].tok_encode("bread") == tokenizer.encode("bread")


def test_a_text_alone_is_scored_after_a_bos_or_an_end(opening: ChatTokenizer, tokenizer: ChatTokenizer) -> None:
    for each, first in ((opening, opening.bos_id), (tokenizer, tokenizer.eos_id)):
        model, told = lm(each)
        ids = each.encode("bread")
        assert model.loglikelihood([instance("loglikelihood", "", "bread")], disable_tqdm=True) == [(sum(ids), False)]
        assert told.asked[-1].token_ids == (first, *ids)


def test_a_continuation_begins_where_its_context_ends(tokenizer: ChatTokenizer) -> None:
    model, told = lm(tokenizer)
    model.loglikelihood([instance("loglikelihood", "Describe the ", "bread")], disable_tqdm=True)
    (asked,) = told.asked
    assert tokenizer.decode(asked.token_ids) == "Describe the bread"
    assert tokenizer.decode(asked.token_ids[asked.start :]) == " bread"


def test_an_answer_that_is_begun_is_gone_on_with(tokenizer: ChatTokenizer) -> None:
    talk = [{"role": "user", "content": "Describe it."}, {"role": "assistant", "content": "The bread"}]
    text = lm(tokenizer)[0].apply_chat_template(talk, add_generation_prompt=False)
    assert text.endswith("<|im_start|>assistant\nThe bread")


@pytest.mark.parametrize("window", [8, 64, None])
def test_each_token_of_a_long_text_is_scored_once(tokenizer: ChatTokenizer, window: int | None) -> None:
    model, told = lm(tokenizer, window)
    texts = ["Describe the bread near the river before winter.", "Explain a recipe without the garden."]
    found = model.loglikelihood_rolling([instance("loglikelihood_rolling", text) for text in texts])
    assert found == [sum(tokenizer.encode(text)) for text in texts]
    assert window is None or max(request.tokens for request in told.asked) < window


def test_what_is_too_long_is_told_and_not_cut(tokenizer: ChatTokenizer) -> None:
    model, told = lm(tokenizer, 16)
    words = r"1 of 2 requests of small take up to \d\d tokens, and teachers\.tiny\.engine\.max_model_len is 16"
    with pytest.raises(UserError, match=words):
        model.loglikelihood([
            instance("loglikelihood", "a", " b"), instance("loglikelihood", "the bread " * 9, " b"),
        ], disable_tqdm=True)  # fmt: skip
    with pytest.raises(UserError, match="1 of 1 requests of small take up to"):
        model.generate_until([instance("generate_until", "a", {"until": [], "max_gen_toks": 16})])
    assert told.asked == []


def test_settings_of_generation(tokenizer: ChatTokenizer) -> None:
    model, told = lm(tokenizer, 512)
    drawn = {"until": "\n", "max_gen_toks": 5, "do_sample": True, "temperature": 0.8, "top_p": 0.9}
    said = model.generate_until([instance("generate_until", "a", each) for each in ({"until": ["."]}, drawn, drawn)])
    greedy, first, second = told.asked
    assert (greedy.sampling.temperature, greedy.sampling.stop, greedy.sampling.max_tokens) == (0, (".",), 256)
    assert (first.sampling.temperature, first.sampling.top_p, first.sampling.stop) == (0.8, 0.9, ("\n",))
    assert first.id != second.id  # a prompt that is asked twice is answered twice
    assert said == ["answer 0", "answer 1", "answer 2"]
    with pytest.raises(UserError, match="wants num_beams of generation"):
        model.generate_until([instance("generate_until", "a", {"until": [], "num_beams": 2})])
