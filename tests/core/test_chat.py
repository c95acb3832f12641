"""Which token has which role, worked out by hand; and templates that would make roles a guess."""

import json
import pickle
import shutil
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest
from tokenizers import Tokenizer, processors

from pipelines.core.chat import ChatTokenizer
from pipelines.core.errors import UserError
from pipelines.core.records import Message

Variant = Callable[..., ChatTokenizer]
TALK: list[Message] = [
    {"role": "user", "content": "Why is bread brown?"},
    {"role": "assistant", "content": "Because of the oven."},
    {"role": "user", "content": "And the crust?"},
    {"role": "assistant", "content": "The same,\n\nonly  more. 🍞 é"},
]
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
# The conversation as the template writes it, in pieces with the role that each piece has.
PIECES = [
    ("template", f"{SYSTEM}<|im_start|>user\n"),
    ("user", "Why is bread brown?"),
    ("template", "<|im_end|>"),
    ("separator", "\n"),
    ("template", "<|im_start|>assistant\n"),
    ("assistant", "Because of the oven."),
    ("end", "<|im_end|>"),
    ("separator", "\n"),
    ("template", "<|im_start|>user\n"),
    ("user", "And the crust?"),
    ("template", "<|im_end|>"),
    ("separator", "\n"),
    ("template", "<|im_start|>assistant\n"),
    ("assistant", "The same,\n\nonly  more. 🍞 é"),
    ("end", "<|im_end|>"),
    ("separator", "\n"),
]


@pytest.fixture
def variant(tiny_model_folder: Path, tmp_path: Path) -> Variant:
    """The tiny model with a template, a configuration or a post-processor of the test's own."""

    def make(
        template: str | None = None, config: dict[str, object] | None = None, trims: bool = False
    ) -> ChatTokenizer:
        folder = tmp_path / "model"
        shutil.copytree(tiny_model_folder, folder)
        if template is not None:
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        if config is not None:
            (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        if trims:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
            tokenizer.save(str(folder / "tokenizer.json"))
        return ChatTokenizer(str(folder))

    return make


def by_hand(tokenizer: ChatTokenizer) -> list[tuple[int, str]]:
    """(token id, role) of the conversation, each piece tokenised alone: special tokens and newlines part them."""
    return [(id, role) for role, text in PIECES for id in tokenizer.encode(text)]


def by_role(tokenizer: ChatTokenizer, talk: list[Message]) -> list[tuple[str, str]]:
    """(role, text) of each run of tokens with one role; an end token is left as nothing."""
    made = tokenizer.tokens(talk)
    runs = groupby(zip(made.ids, made.roles, strict=True), key=lambda pair: pair[1])
    return [(role, tokenizer.decode([id for id, _ in run])) for role, run in runs]


def test_a_conversation_is_rendered_as_the_model_sees_it(tokenizer: ChatTokenizer) -> None:
    assert tokenizer.render(TALK) == "".join(text for _, text in PIECES)
    opened = tokenizer.render([{"role": "system", "content": "Be brief."}, TALK[0]], for_answer=True)
    assert opened == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy is bread brown?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert tokenizer.prompt_ids(" Why? \n") == tokenizer.encode(
        f"{SYSTEM}<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_every_token_has_the_role_of_its_characters(tokenizer: ChatTokenizer) -> None:
    made = tokenizer.tokens(TALK)
    assert list(zip(made.ids, made.roles, strict=True)) == by_hand(tokenizer)
    assert [id for id, role in zip(made.ids, made.roles, strict=True) if role == "end"] == [tokenizer.eos_id] * 2
    assert tokenizer.encode("🍞") == [id for id in tokenizer.encode("🍞") if id in made.ids]
    assert len(tokenizer.encode("🍞")) > 1  # or the parts of a character would not have been looked at


def test_roles_hold_for_a_tokenizer_whose_offsets_leave_out_spaces(variant: Variant) -> None:
    tokenizer = variant(trims=True)
    made = tokenizer.tokens(TALK)
    assert list(zip(made.ids, made.roles, strict=True)) == by_hand(tokenizer)


def test_a_prompt_and_its_answer_are_the_training_example(tokenizer: ChatTokenizer) -> None:
    prompt = tokenizer.prompt_ids(TALK[0]["content"])
    made = tokenizer.tokens(TALK[:2])
    assert list(made.ids[: len(prompt)]) == prompt
    assert made.roles[len(prompt)] == "assistant"


def test_words_that_look_like_markers_have_the_role_of_their_place(tokenizer: ChatTokenizer) -> None:
    talk: list[Message] = [
        {"role": "user", "content": "assistant\nSay <|im_end|> twice"},
        {"role": "assistant", "content": "<|im_end|> <|im_end|> user"},
    ]
    made = tokenizer.tokens(talk)
    user, answer = (tokenizer.encode(m["content"]) for m in talk)
    assert [id for id, role in zip(made.ids, made.roles, strict=True) if role == "user"] == user
    assert [id for id, role in zip(made.ids, made.roles, strict=True) if role == "assistant"] == answer
    assert made.roles.count("end") == 1


def test_a_template_that_trims_is_followed(variant: Variant) -> None:
    trims = variant("{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}<|im_end|>{% endfor %}")
    talk: list[Message] = [{"role": "user", "content": "\n Why? "}, {"role": "assistant", "content": " So.\n"}]
    expected = [
        ("template", "[user]"),
        ("user", "Why?"),
        ("template", "[assistant]"),
        ("assistant", "So."),
        ("end", ""),
    ]
    assert by_role(trims, talk) == expected


@pytest.mark.parametrize(
    "content",
    [
        "m.content[1:]",
        "m.content.split('</think>')[-1]",
        "m.content.split('</think>')[-1] | trim",
        "m.content if m.role == 'assistant' else ''",
        "m.content ~ m.content",
    ],
)
def test_a_template_that_changes_what_was_said_is_refused(variant: Variant, content: str) -> None:
    changes = variant("{% for m in messages %}[{{ m.role }}]{{ " + content + " }}<|im_end|>{% endfor %}")
    talk: list[Message] = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "hm</think>So."}]
    with pytest.raises(UserError, match="changes a message's text"):
        changes.tokens(talk)


@pytest.mark.parametrize(
    ("closing", "closes"), [("<|im_start|>", True), ("<|im_end|>\n", True), ("\n", False), ("", False)]
)
def test_a_special_token_ends_an_answer(variant: Variant, closing: str, closes: bool) -> None:
    """Whichever special token the template writes there: models end turns with others than their eos."""
    turns = variant("{% for m in messages %}[{{ m.role }}]{{ m.content }}" + closing + "{% endfor %}")
    assert turns.closes_answers() is closes
    made = turns.tokens(TALK[:2])
    ends = [id for id, role in zip(made.ids, made.roles, strict=True) if role == "end"]
    assert ends == (turns.encode(closing.strip()) if closes else [])


@pytest.mark.parametrize(("adds", "opening"), [(True, "<|im_start|>"), (False, "")])
def test_a_plain_template_opens_as_the_tokenizer_opens_documents(variant: Variant, adds: bool, opening: str) -> None:
    """A BOS that a configuration names is not always one that the tokenizer writes."""
    named = variant(config={"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"})
    if adds:
        tokenizer = Tokenizer.from_file(f"{named.folder}/tokenizer.json")
        ids = [("<|im_start|>", tokenizer.token_to_id("<|im_start|>"))]
        tokenizer.post_processor = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=ids)
        tokenizer.save(f"{named.folder}/tokenizer.json")
    plain = ChatTokenizer(named.folder, "tulu")
    turns = "<|user|>\nWhy is bread brown?\n<|assistant|>\nBecause of the oven.<|im_end|>"
    assert plain.render(TALK[:2]) == opening + turns
    assert plain.prompt_ids("Why?") == plain.encode(f"{opening}<|user|>\nWhy?\n<|assistant|>\n")
    # Whoever serves the student renders its template with what a client sent, unstripped.
    assert plain.render([{"role": "user", "content": " Why?\n"}], for_answer=True) == (
        f"{opening}<|user|>\nWhy?\n<|assistant|>\n"
    )


def test_a_message_may_hold_any_character(tokenizer: ChatTokenizer) -> None:
    talk: list[Message] = [
        {"role": "user", "content": "What is \ue0f0 or \ue0f1?"},
        {"role": "assistant", "content": "Private use \ue0f0."},
    ]
    made = dict(part for part in by_role(tokenizer, talk) if part[0] in {"user", "assistant"})
    assert made == {"user": "What is \ue0f0 or \ue0f1?", "assistant": "Private use \ue0f0."}


def test_a_template_that_refuses_says_so_in_its_own_words(variant: Variant) -> None:
    strict = variant("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(UserError, match="roles must alternate"):
        strict.tokens(TALK)


def test_a_template_cannot_reach_outside(variant: Variant) -> None:
    with pytest.raises(UserError, match="unsafe"):
        variant("{{ messages.__class__.__base__.__subclasses__() }}").render(TALK)


def test_the_end_token_is_named_by_the_configuration(variant: Variant, tokenizer: ChatTokenizer) -> None:
    assert tokenizer.eos == "<|im_end|>"
    assert tokenizer.encode("<|im_end|>") == [tokenizer.eos_id]
    named = {"eos_token": {"content": "<|im_start|>"}, "chat_template": "{{ eos_token }}{{ messages[0].content }}"}
    other = variant(config=named)
    (Path(other.folder) / "chat_template.jinja").unlink()
    assert other.eos_id == other.encode("<|im_start|>")[0]
    assert other.render([{"role": "user", "content": "Hi"}]) == "<|im_start|>Hi"


@pytest.mark.parametrize(("config", "words"), [({}, "names no eos_token"), ({"eos_token": "</s>"}, "not in the vocab")])
def test_a_model_without_an_end_token_is_refused(variant: Variant, config: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        _ = variant(config=config).eos_id


def test_a_folder_without_its_files_is_refused(tmp_path: Path) -> None:
    empty = ChatTokenizer(str(tmp_path))
    for ask, words in ((lambda: empty.encode("a"), "tokenizer.json"), (lambda: empty.render(TALK), "chat template")):
        with pytest.raises(UserError, match=words):
            ask()


def test_two_tokenizers_are_compared_by_their_tokens(variant: Variant, tokenizer: ChatTokenizer) -> None:
    travelled = pickle.loads(pickle.dumps(tokenizer))
    assert travelled.vocabulary() == tokenizer.vocabulary()
    assert tokenizer.decode(travelled.encode("é 🍞\n")) == "é 🍞\n"
    other = variant()
    larger = Tokenizer.from_file(f"{other.folder}/tokenizer.json")
    larger.add_tokens(["<extra>"])
    larger.save(f"{other.folder}/tokenizer.json")
    assert other.vocabulary().keys() - tokenizer.vocabulary().keys() == {"<extra>"}
