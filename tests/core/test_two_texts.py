"""An encoder-decoder's two texts, token by token: what is read ends as a document, what is written starts by itself."""

import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from pipelines.core.chat import ChatTokenizer
from pipelines.core.errors import UserError
from pipelines.core.records import Message

TALK: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": " Why? "},
    {"role": "assistant", "content": "So.\n"},
]
Model = Callable[..., ChatTokenizer]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A tokenizer with a token for every byte that writes `around` around a text, in a model's folder."""

    def make(around: str, template: str, **config: object) -> ChatTokenizer:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens([AddedToken(text, special=True) for text in ("<s>", "</s>")])
        special = [(text, tokenizer.token_to_id(text)) for text in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=special)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        named = {"eos_token": "</s>", "bos_token": "<s>"}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(named))
        (tmp_path / "config.json").write_text(json.dumps({"is_encoder_decoder": True, **config}))
        return ChatTokenizer(str(tmp_path), template)

    return make


def runs(tokenizer: ChatTokenizer, ids: tuple[int, ...], roles: tuple[str, ...]) -> list[tuple[str, str]]:
    """(role, text) of each run of tokens with one role."""
    parts = groupby(zip(ids, roles, strict=True), key=lambda pair: pair[1])
    return [(role, tokenizer.decode_whole([id for id, _ in part])) for role, part in parts]


def test_the_words_alone_are_read_and_the_last_answer_is_written(model: Model) -> None:
    bare = model("$A </s>", "bare", decoder_start_token_id=7)
    made = bare.tokens(TALK)
    assert runs(bare, made.encoder_ids, made.encoder_roles) == [
        ("system", "Be brief."), ("separator", "\n"), ("user", "Hi"), ("separator", "\n"), ("assistant", "Yes?"),
        ("end", "</s>"), ("separator", "\n"), ("user", "Why?"), ("template", "</s>"),
    ]  # fmt: skip
    assert made.ids == (7, *bare.encode("So."), bare.eos_id)
    assert made.roles == ("template", *["assistant"] * 3, "end")
    assert bare.closes_answers()


def test_a_bos_is_written_once_by_the_tokenizer_and_learnt_by_the_decoder(model: Model) -> None:
    tulu = model("<s> $A </s>", "tulu", decoder_start_token_id=9)
    made = tulu.tokens(TALK[1:3])
    assert tulu.decode_whole(made.encoder_ids) == "<s><|user|>\nHi\n<|assistant|></s>"
    assert made.ids == (9, *tulu.encode("<s>Yes?</s>"))
    assert made.roles == ("template", *["assistant"] * 5, "end")


def test_what_decoders_start_with_may_stand_in_the_generation_config(model: Model) -> None:
    bare = model("$A </s>", "bare")
    with pytest.raises(UserError, match="has a decoder_start_token_id"):
        bare.tokens(TALK)
    (Path(bare.folder) / "generation_config.json").write_text('{"decoder_start_token_id": 3}')
    assert ChatTokenizer(bare.folder, "bare").tokens(TALK).ids[0] == 3


def test_a_tokenizer_that_ends_no_text_is_refused(model: Model) -> None:
    with pytest.raises(UserError, match="ends a text with no </s>"):
        model("<s> $A", "bare", decoder_start_token_id=0).tokens(TALK)


def test_a_causal_model_reads_and_writes_one_text(model: Model) -> None:
    causal = model("<s> $A", "bare", is_encoder_decoder=False)
    made = causal.tokens(TALK)
    assert (made.encoder_ids, made.encoder_roles) == ((), ())
    assert causal.decode_whole(made.ids) == "<s>Be brief.\nHi\nYes?</s>\nWhy?\nSo.</s>"
    assert causal.prompt_ids("Hi") == causal.encode("<s>Hi\n")


def test_a_model_without_a_template_is_told_of_the_plain_one(model: Model) -> None:
    with pytest.raises(UserError, match=r"has no chat template.*student\.learn\.template; bare"):
        model("$A </s>", "chat", decoder_start_token_id=0).tokens(TALK)
