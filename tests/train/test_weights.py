"""Which tokens carry loss: the table of the instruction-modelling paper's Tülu template, and cuts, worked by hand.

The vocabulary is made here and cuts text as Llama 2's does: a BOS in front, a blank in front of every piece that
follows a special token (so the first marker begins with another token than the later ones), digits one by one. So the
one-turn conversation has 24 tokens and the two-turn one 48:

    index  text              sft    im     im-released
    0      BOS               -      -      -
    1-6    <|user|>⏎         -      -      -
    7-13   What is 2+2?      -      loss   loss
    14     ⏎                 -      -      loss
    15-21  <|assistant|>⏎    -      -      loss
    22-23  4, EOS            loss   loss   loss
    24-25  blank, ⏎          -      -      loss
    26-31  <|user|>⏎         -      -      loss
    32-37  And 3+3?          -      loss   loss
    38     ⏎                 -      -      loss
    39-45  <|assistant|>⏎    -      -      loss
    46-47  6, EOS            loss   loss   loss
"""

import json
from collections import Counter
from itertools import pairwise

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from pipelines.core.chat import ChatTokenizer, Role
from pipelines.core.config import Learn
from pipelines.core.records import Message
from pipelines.train.weights import kept, token_weights

TALK: list[Message] = [
    {"role": "user", "content": "What is 2+2?"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "And 3+3?"},
    {"role": "assistant", "content": "6"},
]
PIECE = r"▁<|▁|\n|ass|istant|user|[<|>+?\d]| ?[A-Za-z]+| "
PIECES = ["▁<", "<", "|", ">", "user", "ass", "istant", "\n", "▁", " ", "What", " is", "And", *"0123456789+?"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    """The Tülu template over that vocabulary."""
    vocabulary = {piece: n for n, piece in enumerate(["<unk>", "<s>", "</s>", *PIECES])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    tokenizer.normalizer = normalizers.Prepend("▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    folder = tmp_path_factory.mktemp("llama-like")
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return ChatTokenizer(str(folder), "tulu")


def test_one_turn_has_the_table_s_tokens_and_roles(llama: ChatTokenizer) -> None:
    made = llama.tokens(TALK[:2])
    assert [llama.decode_whole([id]) for id in made.ids] == [
        "<s>", "▁<", "|", "user", "|", ">", "\n", "What", " is", " ", "2", "+", "2", "?", "\n",
        "<", "|", "ass", "istant", "|", ">", "\n", "4", "</s>",
    ]  # fmt: skip
    roles = ["template"] * 7 + ["user"] * 7 + ["separator"] + ["template"] * 7 + ["assistant", "end"]
    assert list(made.roles) == roles


@pytest.mark.parametrize(
    ("turns", "method", "learnt"),
    [
        (2, "sft", {22, 23}),
        (2, "im", {*range(7, 14), 22, 23}),
        (2, "im-released", {*range(7, 24)}),
        (4, "sft", {22, 23, 46, 47}),
        (4, "im", {*range(7, 14), 22, 23, *range(32, 38), 46, 47}),
        (4, "im-released", {*range(7, 48)}),
    ],
)
def test_what_each_method_learns_is_the_table(llama: ChatTokenizer, turns: int, method: str, learnt: set[int]) -> None:
    roles = llama.tokens(TALK[:turns]).roles
    weights = token_weights(roles, Learn(method=method))  # type: ignore[arg-type]
    assert len(weights) == 12 * turns
    assert {t for t, weight in enumerate(weights) if weight} == learnt
    assert set(weights) == {0.0, 1.0}


def test_the_paper_s_counts_for_two_turns(llama: ChatTokenizer) -> None:
    """17 and 41 targets. The release's own instruction tuning has 6, as the separator after an answer counts there."""
    roles = llama.tokens(TALK).roles
    counts = {method: sum(token_weights(roles, Learn(method=method))) for method in ("sft", "im", "im-released")}
    assert counts == {"sft": 4, "im": 17, "im-released": 41}
    assert Counter(roles) == {"template": 27, "user": 13, "assistant": 2, "end": 2, "separator": 4}
    after_an_answer = sum(pair == ("end", "separator") for pair in pairwise(roles))
    assert counts["sft"] + 2 * after_an_answer == 6


def test_a_prompt_weight_lies_between_the_methods() -> None:
    roles: list[Role] = ["template", "system", "user", "input", "separator", "assistant", "end"]
    assert token_weights(roles, Learn(prompt_weight=0.25)) == [0, 0.25, 0.25, 0.25, 0, 1, 1]
    assert token_weights(roles, Learn(prompt_weight=0)) == token_weights(roles, Learn())
    assert token_weights(roles, Learn(prompt_weight=1)) == token_weights(roles, Learn(method="im"))


def test_nothing_predicts_the_first_token() -> None:
    assert token_weights(["user", "user", "assistant"], Learn(method="im")) == [0, 1, 1]
    assert token_weights(["user", "user", "assistant"], Learn(method="im-released")) == [0, 1, 1]


def test_only_the_last_answer_that_did_not_end_has_no_end_to_learn() -> None:
    roles: list[Role] = ["template", "user", "assistant", "end", "user", "assistant", "end", "separator"]
    assert token_weights(roles, Learn(), ended=False) == [0, 0, 1, 1, 0, 1, 0, 0]
    assert token_weights(roles, Learn(method="im-released"), ended=False) == [0, 1, 1, 1, 1, 1, 0, 0]


# Two turns, whose answers end at indices 4 and 8; what the template writes behind the last one is not needed.
TWO: list[Role] = ["template", "user", "assistant", "assistant", "end", "separator", "user", "assistant", "end"]
ROLES: list[Role] = [*TWO, "separator"]


@pytest.mark.parametrize(
    ("method", "most", "stop", "cut"),
    [
        ("sft", None, 9, False),
        ("sft", 9, 9, False),  # all that is learnt fits
        ("sft", 8, 5, True),  # not even one token more than the last whole answer
        ("sft", 5, 5, True),
        ("sft", 4, 4, True),  # within the first answer, without its end
        ("sft", 2, 0, True),  # the prompt alone fills the window
        ("im", 8, 5, True),
        ("im", 2, 2, True),  # a prompt is worth learning there
        ("im-released", 10, 10, False),  # there the last separator is learnt too
    ],
)
def test_a_cut_falls_after_a_whole_answer_where_one_fits(method: str, most: int | None, stop: int, cut: bool) -> None:
    weights = token_weights(ROLES, Learn(method=method))  # type: ignore[arg-type]
    assert kept(ROLES, weights, most) == (stop, cut)
