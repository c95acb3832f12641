"""Preferences: the loss by hand and against TRL's, and that both answers of a pair are learnt together."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pipelines.core.config import Train
from pipelines.core.records import TrainExample
from pipelines.train.batches import collate, order, packs, share
from pipelines.train.examples import CHOSEN, REJECTED
from pipelines.train.learner import Learner
from pipelines.train.losses.preferences import dpo
from pipelines.train.references import Companions
from pipelines.train.step import counts, objective

CONFIG = Train(losses={"dpo": 1.0}, dpo_beta=0.3)


def paired(talk: Sequence[TrainExample]) -> list[TrainExample]:
    """Three pairs out of six conversations; the answers are to other questions, which the loss does not mind."""
    return [
        replace(example, component=(CHOSEN, REJECTED)[n % 2], group=f"pair {n // 2}")
        for n, example in enumerate(talk[:6])
    ]


def _nll(model: Any, example: TrainExample) -> torch.Tensor:
    """Of the whole answer, by a plain forward pass."""
    ids = torch.tensor([example.token_ids])
    logprobs = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return -(logprobs * torch.tensor(example.weights[1:])).sum()


def test_by_hand() -> None:
    examples = [
        TrainExample("a", "", "", REJECTED, (1, 2), (0.0, 1.0), group="p"),
        TrainExample("b", "", "", CHOSEN, (1, 2), (0.0, 1.0), group="p"),
        TrainExample("c", "", "", CHOSEN, (1, 2), (0.0, 1.0), group="alone"),
    ]
    # The chosen one gained 2 nats over the reference, the rejected one lost 1: a margin of 3.
    loss = dpo(torch.tensor([6.0, 3.0, 9.0]), torch.tensor([5.0, 5.0, 1.0]), collate(examples, {}), beta=0.5)
    assert loss.item() == pytest.approx(-F.logsigmoid(torch.tensor(1.5)).item())


def test_the_objective_is_the_mean_over_pairs_of_plain_forwards(model: Any, talk: list[TrainExample]) -> None:
    examples, reference = paired(talk), {e.id: 20.0 + n for n, e in enumerate(paired(talk))}
    total = counts(examples, {}, CONFIG)
    assert total["dpo"] == 3
    learner, companions = Learner(model, CONFIG), Companions(CONFIG, None, None, None, reference)
    value = torch.zeros(())
    for pack in packs(examples, 64):
        batch = collate(pack, {})
        value = value + objective({"dpo": learner.sums(batch, companions.read(batch))["dpo"]}, total, CONFIG.losses)
    margins = []
    for chosen, rejected in zip(examples[::2], examples[1::2], strict=True):
        gained = [reference[e.id] - _nll(model, e) for e in (chosen, rejected)]
        margins.append(gained[0] - gained[1])
    by_hand = -F.logsigmoid(0.3 * torch.stack(margins)).mean()
    assert value.item() == pytest.approx(by_hand.item(), abs=1e-4)
    mine, theirs = (
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
        for loss in (value, by_hand)
    )
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-3)


def test_the_loss_is_trls(tiny_llama: Path, tmp_path: Path) -> None:
    """On the very tokens of TRL's own batch, with a model that has left its reference."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    rows = [
        {"prompt": f"Name a colour of town {n}.", "chosen": " The old bridge.", "rejected": " A garden" * (n + 1)}
        for n in range(3)
    ]
    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    args = DPOConfig(
        output_dir=str(tmp_path), use_cpu=True, beta=0.3, report_to=[], per_device_train_batch_size=3, bf16=False,
        gradient_checkpointing=False, max_length=None,
    )  # fmt: skip
    trainer = DPOTrainer(
        model=model, args=args, train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(tiny_llama),
    )  # fmt: skip
    inputs = next(iter(trainer.get_train_dataloader()))
    examples = _of_trl(inputs)
    reference = {e.id: float(_nll(model, e).detach()) for e in examples}
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    theirs = trainer.compute_loss(model.eval(), inputs).item()
    learner, batch = Learner(model, CONFIG), collate(examples, {})
    sums = learner.sums(batch, Companions(CONFIG, None, None, None, reference).read(batch))
    assert sums["dpo"].item() / 3 == pytest.approx(theirs, abs=1e-5)
    assert abs(theirs - 0.6931) > 0.01


def _of_trl(inputs: Any) -> list[TrainExample]:
    """Its rows, first all chosen and then all rejected, without padding."""
    examples = []
    for n, (ids, mask) in enumerate(zip(inputs["input_ids"], inputs["completion_mask"], strict=True)):
        read = inputs["attention_mask"][n].bool()
        half = len(inputs["input_ids"]) // 2
        examples.append(
            TrainExample(
                f"row {n}",
                "",
                "",
                (CHOSEN, REJECTED)[n // half],
                tuple(ids[read].tolist()),
                tuple(mask[read].float().tolist()),
                group=f"pair {n % half}",
            )
        )
    return examples


def test_a_pair_stays_in_one_pack_one_rank_and_one_step(talk: list[TrainExample]) -> None:
    examples = paired(talk)
    for pack in packs(examples, 16):
        assert [e.component for e in pack] == [CHOSEN, REJECTED]
    for world in (1, 2, 3):
        for rank in range(world):
            mine = share(examples, rank, world)
            chosen, rejected = ({e.group for e in mine if e.component == c} for c in (CHOSEN, REJECTED))
            assert chosen == rejected
    for step in order(examples, 2, 2, 1):
        assert len({examples[i].group for i in step}) * 2 == len(step)


def test_a_batch_without_a_pair_has_a_loss_of_0_with_a_gradient(model: Any) -> None:
    batch = collate([TrainExample("", "", "", "answer", (1, 2), (0.0, 1.0))], {})
    learner = Learner(model, CONFIG)
    value = learner(batch, Companions(CONFIG, None, None, None).read(batch)).sum()
    assert value.item() == 0
    value.backward()
