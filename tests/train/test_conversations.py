"""Which tokens of a conversation carry loss, counted by hand with a tokenizer that has a token for every byte.

The structure is that of the table of arXiv 2405.14394's code under its Tülu template, whose two-turn conversation has
the same kinds of token in the same order.
"""

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Learn
from pipelines.core.errors import UserError
from pipelines.core.records import Conversation, Dropped, TrainExample
from pipelines.train.examples import of_conversation, rendered
from pipelines.train.weights import token_weights

ONE = ("What is 2+2?", "4")
TWO = (*ONE, "And 3+3?", "6")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer with a token for every byte, and an end token."""
    made = tmp_path_factory.mktemp("bytes")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("</s>", special=True)])
    tokenizer.save(str(made / "tokenizer.json"))
    (made / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    return made


@pytest.fixture(scope="module")
def tulu(folder: Path) -> ChatTokenizer:
    return ChatTokenizer(str(folder), "tulu")


def talk(*turns: str, system: str = "", input: str = "") -> Conversation:
    return Conversation(Conversation.make_id(system, turns, input), system, turns, input, "{}")


def made(row: Conversation, tokenizer: ChatTokenizer, learn: Learn, max_length: int = 500) -> TrainExample:
    example = of_conversation(row, tokenizer, learn, max_length)
    assert isinstance(example, TrainExample)
    return example


def learnt(example: TrainExample, tokenizer: ChatTokenizer) -> str:
    return tokenizer.decode_whole([id for id, w in zip(example.token_ids, example.weights, strict=True) if w > 0])


@pytest.mark.parametrize(
    ("turns", "method", "targets"),
    [
        # <|user|>⏎ is 9 tokens, <|assistant|>⏎ 14, a separator 1, </s> 1.
        (ONE, "sft", 1 + 1),
        (ONE, "im", 12 + 1 + 1),
        (ONE, "im-released", 12 + 1 + 14 + 1 + 1),
        (TWO, "sft", 2 * (1 + 1)),
        (TWO, "im", 12 + 8 + 2 * (1 + 1)),
        (TWO, "im-released", 12 + 8 + 2 * (1 + 14 + 1 + 1) + 1 + 9),
    ],
)
def test_each_method_trains_the_tokens_that_a_hand_counts(
    tulu: ChatTokenizer, turns: tuple[str, ...], method: str, targets: int
) -> None:
    example = made(talk(*turns), tulu, Learn(method=method, template="tulu"))  # type: ignore[arg-type]
    assert sum(w > 0 for w in example.weights) == targets


def test_what_is_learnt_is_content_and_the_end(tulu: ChatTokenizer) -> None:
    assert learnt(made(talk(*TWO), tulu, Learn()), tulu) == "4</s>6</s>"
    both = made(talk(*TWO, system="Be brief."), tulu, Learn(method="im"))
    assert learnt(both, tulu) == "Be brief.What is 2+2?4</s>And 3+3?6</s>"


def test_prompt_weight_is_between_the_two_methods(tulu: ChatTokenizer) -> None:
    weights = made(talk(*ONE), tulu, Learn(prompt_weight=0.25)).weights
    assert sorted(set(weights)) == [0.0, 0.25, 1.0]
    assert made(talk(*ONE), tulu, Learn(prompt_weight=1)).weights == made(talk(*ONE), tulu, Learn(method="im")).weights
    assert made(talk(*ONE), tulu, Learn(prompt_weight=0)).weights == made(talk(*ONE), tulu, Learn()).weights


def test_a_source_s_weight_multiplies_all(tulu: ChatTokenizer) -> None:
    example = of_conversation(talk(*ONE), tulu, Learn(), 500, weight=0.5)
    assert isinstance(example, TrainExample)
    assert sorted(set(example.weights)) == [0.0, 0.5]


def test_the_alpaca_template_has_a_place_for_the_input(folder: Path) -> None:
    alpaca = ChatTokenizer(str(folder), "alpaca")
    tokens = rendered(talk("Add them.", "5", input="2 and 3"), alpaca)
    text = alpaca.decode_whole(tokens.ids)
    assert "\n\n### Instruction:\nAdd them.\n\n### Input:\n2 and 3\n\n### Response:\n5</s>" in text
    weights = token_weights(tokens.roles, Learn(method="im"))
    said = alpaca.decode_whole([id for id, w in zip(tokens.ids, weights, strict=True) if w])
    assert said == "Add them.2 and 35</s>"
    assert "### Input" not in alpaca.decode_whole(rendered(talk("Add 2 and 3.", "5"), alpaca).ids)


def test_one_too_long_is_dropped_with_its_length(tulu: ChatTokenizer) -> None:
    dropped = of_conversation(talk(*ONE), tulu, Learn(), 20)
    assert isinstance(dropped, Dropped)
    assert (dropped.reason, dropped.detail) == ("too long", "38 tokens, max_length is 20")


def test_a_cut_keeps_whole_turns_and_their_end(tulu: ChatTokenizer) -> None:
    example = made(talk(*TWO), tulu, Learn(too_long="cut"), 60)
    assert example.cut
    assert learnt(example, tulu) == "4</s>"


def test_a_cut_inside_the_only_answer_teaches_no_end(tulu: ChatTokenizer) -> None:
    example = made(talk("Count.", "1 2 3 4 5 6 7"), tulu, Learn(too_long="cut"), 9 + 6 + 1 + 14 + 5)
    assert example.cut
    assert learnt(example, tulu) == "1 2 3"


def test_a_prompt_that_fills_the_window_is_dropped_though_cuts_are_allowed(tulu: ChatTokenizer) -> None:
    assert isinstance(of_conversation(talk("Count to seven, please.", "1"), tulu, Learn(too_long="cut"), 25), Dropped)


def test_what_fits_is_not_cut(tulu: ChatTokenizer) -> None:
    assert not made(talk(*TWO), tulu, Learn(too_long="cut"), 73).cut


def test_what_the_template_writes_behind_the_last_end_needs_no_room(tokenizer: ChatTokenizer) -> None:
    whole = made(talk(*TWO), tokenizer, Learn(too_long="cut"))
    assert len(rendered(talk(*TWO), tokenizer).ids) == len(whole.token_ids) + 1
    assert made(talk(*TWO), tokenizer, Learn(too_long="cut"), len(whole.token_ids)) == whole


def test_the_first_turns_of_a_cut_conversation_are_the_shorter_conversation(tokenizer: ChatTokenizer) -> None:
    short = made(talk(*ONE), tokenizer, Learn())
    cut = made(talk(*TWO), tokenizer, Learn(too_long="cut"), len(short.token_ids))
    assert (cut.token_ids, cut.weights, cut.cut) == (short.token_ids, short.weights, True)


def test_the_inst_template_takes_no_system_turn(folder: Path) -> None:
    inst = ChatTokenizer(str(folder), "inst")
    assert inst.decode_whole(rendered(talk(*TWO), inst).ids) == (
        "[INST] What is 2+2? [/INST] 4</s>[INST] And 3+3? [/INST] 6</s>"
    )
    assert learnt(made(talk(*TWO), inst, Learn()), inst) == "4</s>6</s>"
    with pytest.raises(UserError, match="no place for a system turn"):
        rendered(talk(*ONE, system="Be brief."), inst)
