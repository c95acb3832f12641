"""Training whose folder is on an object store: interrupted, gone on from on another node, and the same as on a disk."""

from pathlib import Path

import pytest
from lessons import SEED, Lesson, Shown, assert_close, lesson_of, quick_watch
from safetensors.torch import load_file

from cluster.cache import fetched
from cluster.session import Session
from pipelines.core.config import Train
from pipelines.core.errors import BudgetReached
from pipelines.core.progress import Budget
from pipelines.core.records import TrainExample
from pipelines.core.stage import StageRun
from pipelines.core.storage import Folder
from pipelines.train import student
from pipelines.train.job import MODEL

pytestmark = pytest.mark.engine
CONFIG = Train(
    losses={"answer": 1.0}, epochs=5, examples_per_step=3, learning_rate=1e-3, checkpoint_every=1, precision="fp32",
    zero_stage=0, warm=True,
)  # fmt: skip
STEPS = 15  # many enough for the word to stop to arrive before the last


@pytest.fixture
def lesson(tiny_llama: Path, talk: list[TrainExample], tmp_path: Path) -> Lesson:
    return lesson_of(tiny_llama, talk, [], tmp_path / "lesson")


def test_an_interrupted_training_goes_on_from_the_store_on_another_node(
    object_store: int, ray_session: Session, lesson: Lesson, stored_runs: Folder, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    stage = stored_runs.child("student-0123")

    def train(node: str, progress: Shown) -> list[int]:
        monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / node))
        run = StageRun(stage, lesson.inputs, stored_runs, progress)
        outcome = student.run_train(CONFIG, SEED, lesson.model, lambda: ray_session, run)
        return [point["step"] for point in outcome.facts["loss_curve"]]

    with quick_watch(), pytest.raises(BudgetReached):
        train("first", Shown(budget=Budget(max_tokens=1)))
    assert any(name.startswith(student.CHECKPOINTS) for name in stage.folders())
    second = Shown()
    steps = train("second", second)
    assert steps == list(range(1, STEPS + 1))
    assert 1 <= second.begun[0][0] < STEPS, "it went on where the first was"
    assert sorted(name for name in stage.folders() if name != "tensorboard") == [MODEL, "warm"]
    lesson.train(ray_session, tmp_path / "disk", CONFIG, Shown())
    stored, on_disk = fetched(stage.child(MODEL)), tmp_path / "disk" / MODEL
    weights = [load_file(folder / "model.safetensors") for folder in (stored, on_disk)]
    assert_close(*weights, CONFIG.learning_rate)
