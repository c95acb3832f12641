"""Encoder-decoders in packs: the numbers of transformers' own forward, whatever lies beside an example."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Learn, Train
from pipelines.core.records import Conversation, Dropped, TrainExample
from pipelines.train import head, measure
from pipelines.train.attention import load
from pipelines.train.batches import collate, packs
from pipelines.train.examples import of_conversation, sizes
from pipelines.train.learner import Learner
from pipelines.train.references import Companions
from pipelines.train.step import counts, logprobs_of, objective

ANSWER = Train(losses={"answer": 1.0})
TALK = (
    ("Name a colour.", "Red."),
    ("Describe the bread near the river before winter, then list the books of the library.", "A short letter."),
    ("Say hello.", "Hello! How is the violin behind the market, and the clock, and the garden?"),
    ("Name a bridge.", "The old one between two islands."),
)


@pytest.fixture(params=["tiny_t5", "tiny_bart"])
def folder(request: pytest.FixtureRequest) -> Path:
    made: Path = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def student(folder: Path) -> Any:
    return load(folder, torch.float32)


@pytest.fixture
def read(folder: Path) -> list[TrainExample]:
    return examples(folder)


def talk(*turns: str) -> Conversation:
    return Conversation(Conversation.make_id("", turns, ""), "", turns, "", "{}")


def made(folder: Path, row: Conversation, learn: Learn, max_length: int = 200) -> TrainExample | Dropped:
    return of_conversation(row, ChatTokenizer(str(folder), learn.template), learn, max_length)


def examples(folder: Path) -> list[TrainExample]:
    found = [made(folder, talk(*turns), Learn(template="bare")) for turns in TALK]
    return [each for each in found if isinstance(each, TrainExample)]


def sums(student: Any, shown: Sequence[TrainExample], config: Train = ANSWER) -> Mapping[str, Tensor]:
    batch = collate(shown, {})
    return Learner(student, config).sums(batch, Companions(config, None, None, None).read(batch))


def by_transformers(model: Any, shown: Sequence[TrainExample]) -> Tensor:
    """The mean loss that the model's own forward gives for padded rows and labels."""
    longest = max(len(e.encoder_ids) for e in shown)
    read_BR = torch.tensor([[*e.encoder_ids, *[1] * (longest - len(e.encoder_ids))] for e in shown])
    is_read_BR = torch.tensor([[n < len(e.encoder_ids) for n in range(longest)] for e in shown])
    longest = max(len(e.token_ids) for e in shown)
    labels_BW = torch.tensor([[*e.token_ids[1:], *[-100] * (longest - len(e.token_ids))] for e in shown])
    loss: Tensor = model(input_ids=read_BR, attention_mask=is_read_BR, labels=labels_BW).loss
    return loss


def test_a_packs_loss_is_transformers_own(folder: Path, student: Any, read: list[TrainExample]) -> None:
    plain = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = sum(len(e.token_ids) - 1 for e in read)
    assert sum(w > 0 for e in read for w in e.weights) == tokens  # all that is written is learnt, the end too
    ours, theirs = sums(student, read)["answer"] / tokens, by_transformers(plain, read)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    ours.backward()
    theirs.backward()
    gradients = dict(plain.named_parameters())
    for name, p in student.named_parameters():
        torch.testing.assert_close(p.grad, gradients[name].grad, atol=1e-5, rtol=1e-4)


def test_a_head_of_its_own_is_scaled_as_its_model_does(tiny_t5: Path, tmp_path: Path) -> None:
    """T5 scales what a tied head is given, and T5 1.1 and FLAN-T5, whose heads are not tied, do not."""
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_t5)
    assert model.config.scale_decoder_outputs
    model.config.scale_decoder_outputs = False
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    model.save_pretrained(tmp_path)
    read, plain = examples(tiny_t5), AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    assert not torch.equal(plain.lm_head.weight, plain.shared.weight)
    ours = sums(load(tmp_path, torch.float32), read)["answer"] / sum(len(e.token_ids) - 1 for e in read)
    assert ours.item() == pytest.approx(by_transformers(plain, read).item(), abs=1e-5)


def test_a_pack_says_what_each_example_says_alone(student: Any, read: list[TrainExample]) -> None:
    with torch.no_grad():
        alone = torch.cat([logprobs_of(student, collate([e], {})) for e in read])
        packed = logprobs_of(student, collate(read, {}))
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=0)


def test_what_is_read_matters(student: Any, read: list[TrainExample]) -> None:
    other = replace(read[0], encoder_ids=read[1].encoder_ids)
    with torch.no_grad():
        first, second = (logprobs_of(student, collate([e], {})) for e in (read[0], other))
    assert (first - second).abs().max() > 1e-3


def test_chunks_change_nothing(student: Any, read: list[TrainExample], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sums(student, read)["answer"]
    whole.backward()
    wanted = {name: p.grad.clone() for name, p in student.named_parameters()}
    student.zero_grad()
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", 5 * student.config.vocab_size)
    chunked = sums(student, read)["answer"]
    chunked.backward()
    assert chunked.item() == pytest.approx(whole.item(), rel=1e-5)
    for name, p in student.named_parameters():
        torch.testing.assert_close(p.grad, wanted[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("loss", ["base_kl", "kd"])
def test_models_beside_it_read_what_it_reads(loss: str, folder: Path, student: Any, read: list[TrainExample]) -> None:
    """A teacher's whole distributions, or those of the model that it was, by hand from the model's own logits."""
    other = load(folder, torch.float32).requires_grad_(False)
    kd = {"kd": {"source": "online"}} if loss == "kd" else {}
    config = Train.model_validate({"losses": {loss: 1.0}, **kd})
    with torch.no_grad():
        for p in student.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
        batch = collate(read, {})
        companions = Companions(config, other, None, None) if loss == "kd" else Companions(config, None, other, None)
        ours = Learner(student, config).sums(batch, companions.read(batch))[loss]
        by_hand = torch.zeros(())
        for e in read:
            said = {"input_ids": torch.tensor([e.encoder_ids]), "decoder_input_ids": torch.tensor([e.token_ids[:-1]])}
            mine, theirs = (model(**said).logits[0].log_softmax(-1) for model in (student, other))
            p, q = (theirs, mine) if loss == "kd" else (mine, theirs)
            by_hand += F.kl_div(q, p, log_target=True, reduction="sum")
    assert by_hand > 0.01
    assert ours.item() == pytest.approx(by_hand.item(), rel=1e-4)


def test_held_out_losses_come_in_the_examples_order(folder: Path, read: list[TrainExample]) -> None:
    together = measure.losses(folder, read, lambda _: None)
    alone = [measure.losses(folder, [e], lambda _: None)[0] for e in read]
    assert [tokens for _, tokens in together] == [len(e.token_ids) - 1 for e in read]
    assert [nll for nll, _ in together] == pytest.approx([nll for nll, _ in alone], rel=0.05)  # bf16


def test_gradient_accumulation_is_one_pack(student: Any, read: list[TrainExample]) -> None:
    total = counts(read, {}, ANSWER)
    objective(sums(student, read), total, {"answer": 1.0}).backward()
    wanted = {name: p.grad.clone() for name, p in student.named_parameters()}
    student.zero_grad()
    for pack in packs(read, tokens_per_pack=60):
        objective(sums(student, pack), total, {"answer": 1.0}).backward()
    for name, p in student.named_parameters():
        torch.testing.assert_close(p.grad, wanted[name], atol=1e-5, rtol=1e-4)


def sized(*sizes: tuple[int, int]) -> list[TrainExample]:
    return [
        TrainExample(str(n), "", "", "answer", (1,) * written, (1.0,) * written, encoder_ids=(1,) * read)
        for n, (read, written) in enumerate(sizes)
    ]


def test_packs_are_in_order_of_length_and_padding_counts() -> None:
    rows = packs(sized((9, 3), (2, 2), (30, 4), (3, 8), (2, 3), (8, 2)), tokens_per_pack=24)
    # (2, 2) and (2, 3) take 2·(2 + 3) tokens; (3, 8) with them would take 3·(3 + 8). (8, 2) and (9, 3) fill a pack.
    assert [[e.id for e in row] for row in rows] == [["1", "4"], ["3"], ["5", "0"], ["2"]]


def test_packs_of_one_length_keep_their_order() -> None:
    rows = packs(sized((4, 2), (4, 2), (4, 2)), tokens_per_pack=12)
    assert [[e.id for e in row] for row in rows] == [["0", "1"], ["2"]]


LONG = ("Name a river.", "The Nile.", "Describe the bread near the river before winter.", "A short letter.")


def test_all_but_the_last_answer_is_read(folder: Path) -> None:
    example, tokenizer = made(folder, talk(*LONG), Learn(template="bare")), ChatTokenizer(str(folder), "bare")
    assert isinstance(example, TrainExample)
    text = "Name a river.\nThe Nile.</s>\nDescribe the bread near the river before winter."
    assert list(example.encoder_ids) == tokenizer.encode_raw(text)
    assert list(example.token_ids[1:]) == tokenizer.encode_raw("A short letter.")
    assert example.weights == (0.0,) + (1.0,) * (len(example.token_ids) - 1)
    assert example.token_ids[-1] == example.encoder_ids[-1] == tokenizer.eos_id


def test_too_much_to_read_is_dropped_or_cut_to_later_turns(folder: Path) -> None:
    short = made(folder, talk(*LONG[2:]), Learn(template="bare"))
    assert isinstance(short, TrainExample)
    most = len(short.encoder_ids)
    dropped = made(folder, talk(*LONG), Learn(template="bare"), most)
    assert isinstance(dropped, Dropped)
    assert dropped.reason == "too long"
    assert dropped.detail.endswith(f" to write, max_length is {most}")
    cut = made(folder, talk(*LONG), Learn(template="bare", too_long="cut"), most)
    assert isinstance(cut, TrainExample)
    assert (cut.encoder_ids, cut.token_ids, cut.cut) == (short.encoder_ids, short.token_ids, True)
    # A question is never cut.
    assert isinstance(made(folder, talk(*LONG), Learn(template="bare", too_long="cut"), most - 1), Dropped)


def test_too_much_to_write_is_dropped_or_cut_without_its_end(folder: Path) -> None:
    row = talk("Name a clock.", "The old bridge between two islands and the violin behind the market. " * 3)
    whole = made(folder, row, Learn(template="bare"), 1000)
    assert isinstance(whole, TrainExample)
    most = len(whole.token_ids) - 3
    assert isinstance(made(folder, row, Learn(template="bare"), most), Dropped)
    cut = made(folder, row, Learn(template="bare", too_long="cut"), most)
    assert isinstance(cut, TrainExample)
    assert cut.cut
    assert (cut.encoder_ids, cut.token_ids) == (whole.encoder_ids, whole.token_ids[:most])
    assert cut.id != whole.id


def test_what_is_read_is_part_of_an_examples_id(folder: Path) -> None:
    ids = {made(folder, talk("Name a clock.", "No."), Learn(template=t)).id for t in ("bare", "tulu", "alpaca")}
    assert len(ids) == 3


def test_tokens_of_both_sides_are_counted(read: list[TrainExample]) -> None:
    facts = sizes(read)
    assert facts["tokens"] == sum(len(e.encoder_ids) + len(e.token_ids) for e in read)
    assert facts["weighted_tokens"] == sum(len(e.token_ids) - 1 for e in read)
