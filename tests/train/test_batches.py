"""Packs: the same numbers as running each example alone, a seeded order, fair shares, and signals that fit."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Train
from pipelines.core.records import SoftTargets, TrainExample
from pipelines.train.batches import collate, order, packs, share
from pipelines.train.step import logprobs_of

KD = Train(losses={"kd": 1.0})
Guesses = Callable[[int, int, int], Tensor]
Sums = Callable[..., dict[str, Tensor]]
Teach = Callable[[TrainExample, Tensor, int], SoftTargets]


def _sized(*sizes: int) -> list[TrainExample]:
    return [TrainExample(str(n), "", "", "answer", (1,) * size, (1.0,) * size) for n, size in enumerate(sizes)]


def test_a_pack_predicts_what_each_example_predicts_alone(model: Any, talk: list[TrainExample]) -> None:
    with torch.no_grad():
        alone = torch.cat([logprobs_of(model, collate([example], {})) for example in talk])
        packed = logprobs_of(model, collate(talk, {}))
        one_text = model(input_ids=collate(talk, {}).ids_1T).logits[0].log_softmax(-1)
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=0)
    # Read as one text, where each example sees those before it, the numbers are others.
    positions_N = collate(talk, {}).positions_N
    assert (one_text[positions_N - 1] - alone).abs().max() > 0.1


def test_a_packs_rows_belong_to_the_tokens_they_name(talk: list[TrainExample]) -> None:
    batch = collate(talk[:3], {})
    at = 0
    wanted: list[tuple[int, int, float, int]] = []
    for n, example in enumerate(talk[:3]):
        rows = zip(example.token_ids, example.weights, strict=True)
        wanted += [(at + t, id, weight, n) for t, (id, weight) in enumerate(rows) if weight]
        at += len(example.token_ids)
    columns = (batch.positions_N, batch.targets_N, batch.weights_N, batch.example_N)
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == wanted
    assert batch.ids_1T.shape == batch.position_ids_1T.shape == (1, at)


def test_order_is_seeded_and_each_epoch_shows_every_example_once() -> None:
    examples = [TrainExample(str(n), "", "", "answer", (1, 2), (0.0, 1.0)) for n in range(10)]
    steps = order(examples, epochs=3, per_step=4, seed=5)
    assert [len(step) for step in steps] == [4, 4, 2] * 3
    epochs = [list(chain(*steps[at : at + 3])) for at in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert steps == order(examples, 3, 4, seed=5)
    assert steps != order(examples, 3, 4, seed=6)


def test_all_tasks_of_a_question_are_learnt_in_one_step() -> None:
    tasks = [(f"question {n}", component) for n in range(6) for component in ("answer", "rationale a")[: 1 + n % 2]]
    examples = [TrainExample(f"{q} {c}", "", "", c, (1, 2), (0.0, 1.0), group=q) for q, c in tasks]
    steps = order(examples, epochs=1, per_step=2, seed=5)
    of_steps = [{examples[i].group for i in step} for step in steps]
    assert [len(questions) for questions in of_steps] == [2, 2, 2]
    assert set.union(*of_steps) == {e.group for e in examples}
    assert sorted(chain(*steps)) == list(range(9))


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_shares_of_a_step_are_a_partition(world: int) -> None:
    step = [TrainExample(str(n), "", "", "answer", (1, 2), (0.0, 1.0)) for n in range(4)]
    shares = [share(step, rank, world) for rank in range(world)]
    assert Counter(e.id for e in chain(*shares)) == Counter(e.id for e in step)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_packs_keep_the_order_and_the_bound() -> None:
    rows = packs(_sized(5, 5, 6, 30, 3, 13, 1), tokens_per_pack=16)
    # 5 + 5 leave 6 for the third; 30 is above the bound and stands alone; 3 + 13 fill a row exactly.
    assert [[len(e.token_ids) for e in row] for row in rows] == [[5, 5, 6], [30], [3, 13], [1]]
    assert [e.id for row in rows for e in row] == list("0123456")


def test_a_signal_for_other_positions_is_refused(talk: list[TrainExample], guesses: Guesses, teach: Teach) -> None:
    example = talk[0]
    weighted = sum(w > 0 for w in example.weights)
    signal = teach(example, guesses(weighted, 40, 1), 4)
    collate([example], {example.id: signal})
    moved = replace(signal, positions=tuple(p - 1 for p in signal.positions))
    with pytest.raises(AssertionError, match="other tokens"):
        collate([example], {example.id: moved})


def test_rows_without_a_signal_say_so_and_cost_nothing(
    tokenizer: ChatTokenizer, talk: list[TrainExample], guesses: Guesses, teach: Teach, sums_of: Sums
) -> None:
    V = len(tokenizer.vocabulary())
    first, second = talk[0], talk[1]
    sizes = [sum(w > 0 for w in e.weights) for e in (first, second)]
    signal = teach(second, guesses(sizes[1], V, 1), 4)
    batch = collate([first, second], {second.id: signal})
    assert batch.has_signal_N.tolist() == [0.0] * sizes[0] + [1.0] * sizes[1]
    logprobs_NV = guesses(sum(sizes), V, 2)
    both = sums_of(logprobs_NV, [first, second], {second.id: signal}, KD)["kd"]
    alone = sums_of(logprobs_NV[sizes[0] :], [second], {second.id: signal}, KD)["kd"]
    assert alone > 0.1
    assert both.item() == pytest.approx(alone.item(), rel=1e-5)
    assert collate([first, second], {}).has_signal_N.sum() == 0


def test_signals_with_fewer_candidates_keep_their_loss_in_a_shared_pack(
    tokenizer: ChatTokenizer, talk: list[TrainExample], guesses: Guesses, teach: Teach, sums_of: Sums
) -> None:
    V = len(tokenizer.vocabulary())
    pair = talk[:2]
    sizes = [sum(w > 0 for w in e.weights) for e in pair]
    students = [guesses(size, V, seed) for seed, size in enumerate(sizes)]
    signals = {e.id: teach(e, guesses(s, V, 7), k) for e, s, k in zip(pair, sizes, (3, 9), strict=True)}
    alone = [sums_of(student, [e], signals, KD)["kd"] for e, student in zip(pair, students, strict=True)]
    both = sums_of(torch.cat(students), pair, signals, KD)["kd"]
    assert both.item() == pytest.approx(sum(alone).item(), rel=1e-5)
