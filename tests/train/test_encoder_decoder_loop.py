"""Real training runs of encoder-decoders on this machine's CPU: Ray Train workers over DeepSpeed, in fp32.

The numbers to meet are those of a plain torch loop over transformers' own loss, without packs, ranks, Ray or DeepSpeed.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lessons import SEED, Lesson, Shown, Weights, assert_close, lesson_of, quick_watch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from cluster.session import Session
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Learn, Train
from pipelines.core.errors import BudgetReached
from pipelines.core.progress import Budget
from pipelines.core.records import Conversation, TrainExample
from pipelines.core.stage import Outcome
from pipelines.train.batches import order
from pipelines.train.examples import of_conversation
from pipelines.train.job import MODEL
from pipelines.train.schedule import learning_rate

pytestmark = pytest.mark.engine

# Seven examples, three a step: 3 + 3 + 1, so with two workers one has fewer packs, or none at all.
CONFIG = Train(epochs=4, examples_per_step=3, tokens_per_pack=100, learning_rate=5e-3, precision="fp32", zero_stage=0)
STEPS = 12
TALK = (
    ("Name a colour.", "Red."),
    ("Describe the bread near the river before winter, then list the books of the library.", "A short letter."),
    ("Say hello.", "Hello! How is the violin behind the market, and the clock, and the garden?"),
    ("Name a bridge.", "The old one between two islands."),
    ("Compare the engine of the clock with the violin.", "The engine is behind the market."),
    ("Write a recipe.", "Bread."),
    ("List the books of the library.", "A letter about an old bridge, a recipe without the garden."),
)


def examples(folder: Path) -> list[TrainExample]:
    tokenizer, found = ChatTokenizer(str(folder), "bare"), []
    for turns in TALK:
        row = Conversation(Conversation.make_id("", turns, ""), "", turns, "", "{}")
        found.append(of_conversation(row, tokenizer, Learn(template="bare"), 200))
    return [each for each in found if isinstance(each, TrainExample)]


def weights(folder: Path) -> Weights:
    return _weights(AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32))


def _weights(model: Any) -> Weights:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.fixture(scope="module")
def t5(tiny_t5: Path, tmp_path_factory: pytest.TempPathFactory) -> Lesson:
    """Without dropout, which draws otherwise for another number of workers."""
    home = tmp_path_factory.mktemp("lesson")
    still = shutil.copytree(tiny_t5, home / "still")
    config = json.loads((still / "config.json").read_text())
    (still / "config.json").write_text(json.dumps(config | {"dropout_rate": 0.0}))
    return lesson_of(still, examples(tiny_t5), [], home)


@pytest.fixture(scope="module")
def alone(ray_session: Session, t5: Lesson, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("alone")
    return folder, t5.train(ray_session, folder, CONFIG, Shown())


def test_one_worker_ends_where_transformers_own_loss_ends(alone: tuple[Path, Outcome], t5: Lesson) -> None:
    model = AutoModelForSeq2SeqLM.from_pretrained(t5.model, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), betas=CONFIG.betas, weight_decay=CONFIG.weight_decay)
    for number, step in enumerate(order(t5.examples, CONFIG.epochs, CONFIG.examples_per_step, SEED)):
        shown = [t5.examples[i] for i in step]
        tokens = sum(len(e.token_ids) - 1 for e in shown)
        optimizer.zero_grad()
        for e in shown:
            labels = torch.tensor([e.token_ids[1:]])
            loss = model(input_ids=torch.tensor([e.encoder_ids]), labels=labels).loss
            (loss * labels.numel() / tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CONFIG.clip)
        optimizer.param_groups[0]["lr"] = learning_rate(CONFIG, number, STEPS)
        optimizer.step()
    assert_close(weights(alone[0] / MODEL), _weights(model), CONFIG.learning_rate)


def test_two_workers_with_uneven_shares_end_where_one_ends(
    ray_session: Session, t5: Lesson, alone: tuple[Path, Outcome], tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"workers": 2, "zero_stage": 3, "gradient_checkpointing": True})
    facts = t5.train(ray_session, tmp_path, config, Shown()).facts
    assert_close(weights(tmp_path / MODEL), weights(alone[0] / MODEL), CONFIG.learning_rate)
    assert facts["tokens"] == CONFIG.epochs * sum(e.size for e in t5.examples)


def test_a_stopped_run_with_dropout_ends_where_the_undisturbed_one_ends(
    ray_session: Session, t5: Lesson, tiny_t5: Path, alone: tuple[Path, Outcome], tmp_path: Path
) -> None:
    lesson, config = Lesson(tiny_t5, t5.inputs, t5.examples, {}), CONFIG.model_copy(update={"epochs": 8})
    undisturbed = lesson.train(ray_session, tmp_path / "undisturbed", config, Shown())
    first, second = Shown(budget=Budget(max_tokens=1)), Shown()
    with quick_watch(), pytest.raises(BudgetReached):
        lesson.train(ray_session, tmp_path / "stopped", config.model_copy(update={"checkpoint_every": 1}), first)
    lesson.train(ray_session, tmp_path / "stopped", config, second)
    assert 0 < second.begun[0][0] < 2 * STEPS
    ours, theirs = (weights(tmp_path / name / MODEL) for name in ("stopped", "undisturbed"))
    assert max((ours[name] - theirs[name]).abs().max() for name in theirs) <= 1e-6
    dropped, still = (o.facts["loss_curve"][0]["losses"]["answer"] for o in (undisturbed, alone[1]))
    assert abs(dropped - still) > 0.01  # there was dropout


def test_adapters_learn_and_the_folder_is_a_plain_model(ray_session: Session, tiny_bart: Path, tmp_path: Path) -> None:
    """BART, under ZeRO 3 on two workers: what learnt is merged, and plain transformers loads it and writes."""
    lesson = lesson_of(tiny_bart, examples(tiny_bart), [], tmp_path / "lesson")
    changes = {"lora": {"rank": 4}, "learning_rate": 0.01, "workers": 2, "zero_stage": 3, "epochs": 8}
    config = Train.model_validate(CONFIG.model_dump() | changes)
    curve = lesson.train(ray_session, tmp_path / "out", config, Shown()).facts["loss_curve"]
    first, last = (sum(p["losses"]["answer"] for p in points) for points in (curve[:3], curve[-3:]))
    assert last < 0.9 * first
    before, after, model = weights(tiny_bart), weights(tmp_path / "out" / MODEL), tmp_path / "out" / MODEL
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[-2] for name in changed} == {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"}
    loaded, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    assert torch.equal(loaded.final_logits_bias, AutoModelForSeq2SeqLM.from_pretrained(tiny_bart).final_logits_bias)
    read = tokenizer("Name a colour.", return_tensors="pt").input_ids
    assert tuple(read[0].tolist()) == lesson.examples[0].encoder_ids
    written = loaded.generate(read, max_new_tokens=8)
    assert written[0, 0] == loaded.generation_config.decoder_start_token_id == 2
    assert written.shape[1] > 1


def test_frozen_embeddings_stay_and_validation_looks(ray_session: Session, t5: Lesson, tmp_path: Path) -> None:
    looks = {"share": 0.3, "every": 2}
    changes = {"freeze_embeddings": True, "epochs": 2, "validation": looks, "losses": {"answer": 1.0, "base_kl": 0.1}}
    facts = t5.train(ray_session, tmp_path, Train.model_validate(CONFIG.model_dump() | changes), Shown()).facts
    assert any("validation" in point for point in facts["loss_curve"])
    before, after = weights(t5.model), weights(tmp_path / MODEL)
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {"shared.weight"}  # which is both sides' embedding, and the head
