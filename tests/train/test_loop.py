"""Real training runs on this machine's CPU: Ray Train workers over DeepSpeed, on a tiny model in fp32.

Each run's result is made once and shared. The numbers to meet are those of a plain torch loop without packs, ranks,
Ray or DeepSpeed, at the same examples and learning rates.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from lessons import SEED, Lesson, Shown, Weights, assert_close, lesson_of, quick_watch
from torch import Tensor

from cluster.session import Session
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Train
from pipelines.core.errors import BudgetReached, UserError
from pipelines.core.parts import write_rows
from pipelines.core.progress import Budget
from pipelines.core.records import SoftTargets, TrainExample
from pipelines.core.stage import Done, Outcome
from pipelines.core.storage import Folder
from pipelines.influence.state import Warm
from pipelines.train import student
from pipelines.train.batches import collate, order
from pipelines.train.job import MODEL
from pipelines.train.learner import Learner
from pipelines.train.references import Companions
from pipelines.train.schedule import learning_rate
from pipelines.train.step import counts, objective
from pipelines.train.validation import split

pytestmark = pytest.mark.engine

STEPS = 15
# Seven examples, three a step, five epochs: 3 + 3 + 1, so with two workers one has fewer packs, or none at all.
CONFIG = Train(
    epochs=5, examples_per_step=3, tokens_per_pack=200, learning_rate=5e-4, losses={"answer": 0.5, "kd": 1.0},
    top_k=8, precision="fp32",
)  # fmt: skip


@pytest.fixture(scope="module")
def lesson(
    tiny_llama: Path,
    tokenizer: ChatTokenizer,
    talk: list[TrainExample],
    guesses: Callable[[int, int, int], Tensor],
    teach: Callable[[TrainExample, Tensor, int], SoftTargets],
    tmp_path_factory: pytest.TempPathFactory,
) -> Lesson:
    """The conversations, most of them with the signals of a made-up teacher."""
    vocabulary = len(tokenizer.vocabulary())
    signals = [
        teach(e, guesses(sum(w > 0 for w in e.weights), vocabulary, n), CONFIG.top_k) for n, e in enumerate(talk[:5])
    ]
    return lesson_of(tiny_llama, talk, signals, tmp_path_factory.mktemp("lesson"))


@pytest.fixture(scope="module")
def by_torch(lesson: Lesson) -> Weights:
    """The weights after the same steps in plain torch: one example at a time, one process."""
    model = _load(lesson.model)
    learner, companions = Learner(model, CONFIG), Companions(CONFIG, None, None, None)
    optimizer = torch.optim.AdamW(model.parameters(), betas=CONFIG.betas, weight_decay=CONFIG.weight_decay)
    coefficients = {str(name): value for name, value in CONFIG.losses.items()}
    for number, step in enumerate(order(lesson.examples, CONFIG.epochs, CONFIG.examples_per_step, SEED)):
        examples = [lesson.examples[i] for i in step]
        total = counts(examples, lesson.signals, CONFIG)
        optimizer.zero_grad()
        for example in examples:
            batch = collate([example], lesson.signals)
            objective(learner.sums(batch, companions.read(batch)), total, coefficients).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CONFIG.clip)
        optimizer.param_groups[0]["lr"] = learning_rate(CONFIG, number, STEPS)
        optimizer.step()
    return _weights(model)


@pytest.fixture(scope="module")
def alone(ray_session: Session, lesson: Lesson, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """One worker, undisturbed."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, lesson.train(ray_session, folder, CONFIG, Shown())


def test_one_worker_ends_where_plain_torch_ends(alone: tuple[Path, Outcome], lesson: Lesson, by_torch: Weights) -> None:
    assert_close(_exported(alone[0]), by_torch, CONFIG.learning_rate)
    start = _weights(_load(lesson.model))
    with pytest.raises(AssertionError):
        assert_close(start, by_torch, CONFIG.learning_rate)


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_two_workers_with_uneven_shares_end_where_one_ends(
    zero_stage: int, ray_session: Session, lesson: Lesson, alone: tuple[Path, Outcome], tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"workers": 2, "zero_stage": zero_stage})
    outcome = lesson.train(ray_session, tmp_path, config, Shown())
    assert_close(_exported(tmp_path), _exported(alone[0]), CONFIG.learning_rate)
    for one, two in zip(alone[1].facts["loss_curve"], outcome.facts["loss_curve"], strict=True):
        assert two["tokens"] == one["tokens"]
        assert two["losses"] == pytest.approx(one["losses"], abs=1e-4)


def test_loss_falls_and_the_curve_has_every_step_once(alone: tuple[Path, Outcome], lesson: Lesson) -> None:
    facts = alone[1].facts
    curve = facts["loss_curve"]
    assert [point["step"] for point in curve] == list(range(1, STEPS + 1))
    assert facts["steps"] == STEPS
    assert facts["tokens"] == CONFIG.epochs * sum(len(e.token_ids) for e in lesson.examples)
    for name in ("answer", "kd"):
        # Whole epochs, so that both means are over the same examples.
        first, last = (_mean(point["losses"].get(name) for point in part) for part in (curve[:3], curve[-3:]))
        assert last < 0.9 * first, name


def test_the_output_is_a_model_folder_with_its_tokenizer(alone: tuple[Path, Outcome], lesson: Lesson) -> None:
    from transformers import AutoTokenizer

    model = alone[0] / MODEL
    assert alone[1].digest == student.folder_digest(model)
    assert _load(model).config.num_hidden_layers == 4
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (model / name).read_bytes() == (lesson.model / name).read_bytes()
    text = "Name a colour."
    assert AutoTokenizer.from_pretrained(model)(text) == AutoTokenizer.from_pretrained(lesson.model)(text)
    assert not (alone[0] / "train").exists()  # the checkpoints are gone


def test_frozen_layers_and_embeddings_stay_as_they_were(ray_session: Session, lesson: Lesson, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"frozen_layers": 3, "freeze_embeddings": True, "epochs": 1})
    lesson.train(ray_session, tmp_path, config, Shown())
    before, after = _weights(_load(lesson.model)), _exported(tmp_path)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(("model.layers.3.", "model.norm.")) for name in changed), changed


@pytest.fixture(scope="module")
def interrupted(
    ray_session: Session, lesson: Lesson, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Outcome, Shown]:
    """A run whose tokens are spent after its first step, and then the rest of it."""
    folder = tmp_path_factory.mktemp("interrupted")
    first = Shown(budget=Budget(max_tokens=1))
    with quick_watch(), pytest.raises(BudgetReached):
        # A checkpoint a step makes steps slow enough for the word to arrive before the last.
        lesson.train(ray_session, folder, CONFIG.model_copy(update={"checkpoint_every": 1}), first)
    assert not (folder / MODEL).exists(), "all was done before the budget could stop it"
    assert first.begun == [(0, STEPS)]
    second = Shown()
    return folder, lesson.train(ray_session, folder, CONFIG, second), second


def test_a_stopped_run_goes_on_and_ends_where_the_undisturbed_one_ends(
    interrupted: tuple[Path, Outcome, Shown], alone: tuple[Path, Outcome]
) -> None:
    folder, _, second = interrupted
    ((before, total),) = second.begun
    assert total == STEPS
    assert 0 < before < STEPS
    assert second.done == STEPS
    ours, theirs = _exported(folder), _exported(alone[0])
    assert max((ours[name] - theirs[name]).abs().max() for name in theirs) <= 1e-6


def test_a_stopped_runs_curve_has_every_step_once(
    interrupted: tuple[Path, Outcome, Shown], alone: tuple[Path, Outcome]
) -> None:
    _, outcome, _ = interrupted
    assert [point["step"] for point in outcome.facts["loss_curve"]] == list(range(1, STEPS + 1))
    assert outcome.facts["tokens"] == alone[1].facts["tokens"]
    for ours, theirs in zip(outcome.facts["loss_curve"], alone[1].facts["loss_curve"], strict=True):
        assert ours["losses"] == pytest.approx(theirs["losses"], abs=1e-4)


def test_workers_killed_three_times_end_where_the_undisturbed_run_ends(
    ray_session: Session, lesson: Lesson, alone: tuple[Path, Outcome], tmp_path: Path
) -> None:
    """Ray Train starts them again, and they go on from the last checkpoint."""
    killed: list[int] = []

    def kill() -> None:
        while len(killed) < 3 and not over.wait(0.01):
            curve = tmp_path / student.CURVE
            steps = [json.loads(line)["step"] for line in curve.read_text().splitlines()] if curve.exists() else []
            if steps and steps[-1] >= (3, 7, 11)[len(killed)] and (workers := _workers()):
                killed.append(workers[0].pid)
                workers[0].kill()
                workers[0].wait()

    over = threading.Event()
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with quick_watch():
            outcome = lesson.train(ray_session, tmp_path, CONFIG.model_copy(update={"checkpoint_every": 2}), Shown())
    finally:
        over.set()
        killer.join()
    assert len(set(killed)) == 3
    ours, theirs = _exported(tmp_path), _exported(alone[0])
    assert max((ours[name] - theirs[name]).abs().max() for name in theirs) <= 1e-6
    assert [point["step"] for point in outcome.facts["loss_curve"]] == list(range(1, STEPS + 1))


def _workers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any("RayTrainWorker" in part for part in process.cmdline()):
                found.append(process)
    return found


def test_the_weights_of_the_best_look_are_the_students(ray_session: Session, lesson: Lesson, tmp_path: Path) -> None:
    """A rate that soon does harm, so that the best look is not the last and patience ends it."""
    looks = {"share": 0.3, "every": 1, "patience": 2}
    config = Train.model_validate(
        CONFIG.model_dump() | {"validation": looks, "learning_rate": 0.02, "schedule": "constant", "workers": 2}
    )
    facts = lesson.train(ray_session, tmp_path, config, Shown()).facts
    seen = {point["step"]: point["validation"] for point in facts["loss_curve"]}
    assert facts["best_step"] == min(seen, key=seen.__getitem__) == max(seen) - 2
    assert max(seen) < config.epochs * 2
    apart = split(lesson.examples, config.validation, SEED)[1]
    assert len(apart) >= 2
    total = counts(apart, lesson.signals, config)
    learner, companions = Learner(_load(tmp_path / MODEL), config), Companions(config, None, None, None)
    with torch.no_grad():
        batch = collate(apart, lesson.signals)
        loss = objective(learner.sums(batch, companions.read(batch)), total, dict(config.losses))
    assert facts["best_validation"] == pytest.approx(float(loss), abs=1e-3)


def test_adapters_learn_in_place_of_the_weights(ray_session: Session, lesson: Lesson, tmp_path: Path) -> None:
    config = Train.model_validate(
        CONFIG.model_dump()
        | {"lora": {"rank": 4, "targets": ("q_proj", "v_proj")}, "gradient_checkpointing": True, "epochs": 2,
           "learning_rate": 5e-3, "workers": 2, "zero_stage": 3, "warm": True}
    )  # fmt: skip
    facts = lesson.train(ray_session, tmp_path, config, Shown()).facts
    warm, model = Warm.read(tmp_path), _load(tmp_path / MODEL)
    assert {name.split(".lora_")[0][-6:] for name in warm.trained} == {"q_proj", "v_proj"}
    ids = torch.tensor([lesson.examples[0].token_ids])
    with torch.no_grad():
        torch.testing.assert_close(warm.model(ids).logits, model(ids).logits, atol=1e-3, rtol=0)
    before, after = _weights(_load(lesson.model)), _exported(tmp_path)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {n for n in before if n.endswith(("q_proj.weight", "v_proj.weight"))}
    curve = facts["loss_curve"]
    first, last = (_mean(point["losses"].get("answer") for point in part) for part in (curve[:3], curve[-3:]))
    assert last < first


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_examples(
    ray_session: Session, lesson: Lesson, tmp_path: Path
) -> None:
    bad = lesson.examples[2]
    signal = lesson.signals[bad.id]
    poisoned = replace(signal, logprobs=np.full(len(signal.logprobs) // 2, np.nan, np.float16).tobytes())
    signals = [poisoned if s.example_id == bad.id else s for s in lesson.signals.values()]
    folder = Folder(str(tmp_path)).child("bad_signals")
    write_rows(folder, signals, SoftTargets)
    inputs = {**lesson.inputs, "soft_targets": Done(folder, lesson.inputs["soft_targets"].manifest)}
    with pytest.raises(UserError, match=rf"loss of these examples is no number: .*{bad.id}"):
        replace(lesson, inputs=inputs).train(ray_session, tmp_path / "out", CONFIG, Shown())
    assert not (tmp_path / "out" / MODEL).exists()


def _load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()


def _weights(model: Any) -> Weights:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def _exported(folder: Path) -> Weights:
    return _weights(_load(folder / MODEL))


def _mean(values: Iterator[float | None]) -> float:
    """Of those that are there: a step without signals has no loss of that name."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there)
