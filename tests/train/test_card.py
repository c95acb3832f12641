"""A student's card: it says what its inputs say, and the hub can read it."""

from pathlib import Path

from huggingface_hub import ModelCard

from pipelines.core.config import Train
from pipelines.core.stage import Done
from pipelines.core.storage import Folder
from pipelines.train.card import Lesson, Origin, markdown

CURVE = [{"step": n, "tokens": 10, "losses": {"answer": 2.0 - n / 10}, "learning_rate": 0.1} for n in range(10)]
FACTS = {"loss_curve": CURVE, "tokens": 12_345, "steps": 10}


def _card(tmp_path: Path, origin: Origin, **facts: object) -> str:
    train = Train(losses={"answer": 0.5, "kd": 1.0}, learning_rate=1e-4)
    examples = Done(Folder(str(tmp_path / "examples-1a2b")), {"rows": 1234, "dropped": {"too long": 5}})
    return markdown(origin, train, examples, {**FACTS, **facts})


def test_it_tells_origin_teachers_data_figures_and_settings(tmp_path: Path) -> None:
    origin = Origin("embedded:big", {"main": "embedded:big"}, {"removed_layers": [9, 4]})
    text = _card(tmp_path, origin, best_step=7, best_validation=1.25)
    for words in (
        "`embedded:big`, layers 4, 9 removed.", "`main`: `embedded:big`", "1,234 examples, the rows of `examples-1a2b`",
        "12,345 tokens in 10 steps", "too long: 5", "| answer | 0.5 | 2.0000 | 1.1000 |", "| kd | 1 | - | - |",
        "those after step 7: 1.2500", "learning_rate: 0.0001",
    ):  # fmt: skip
        assert words in text, words
    assert ModelCard(text).data.to_dict()["library_name"] == "transformers"


def test_it_tells_what_was_learnt_before_in_its_order(tmp_path: Path) -> None:
    before = Lesson(Done(Folder(str(tmp_path / "examples-0")), {"rows": 7, "dropped": {}}), {"tokens": 70, "steps": 2})
    text = _card(tmp_path, Origin("embedded:big", {}, {}, [before]))
    assert "- 7 examples, the rows of `examples-0`; 70 tokens in 2 steps.\n- 1,234 examples" in text
    assert "own answers" in text


def test_a_local_folder_is_named_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    text = _card(tmp_path, Origin(str(tmp_path / "mine"), {}, {}))
    assert "`mine`" in text
    assert str(tmp_path) not in text
    assert "learnt from text alone" in text


def test_an_encoder_decoders_task_and_class_are_named(tmp_path: Path) -> None:
    text = _card(tmp_path, Origin("mine", {}, {}, is_encoder_decoder=True))
    assert ModelCard(text).data.to_dict()["pipeline_tag"] == "text2text-generation"
    assert "AutoModelForSeq2SeqLM" in text
    assert "AutoModelForSeq2SeqLM" not in _card(tmp_path, Origin("mine", {}, {}))
