"""Questions and rationales as tasks of one student: the sources, the losses, and the specification's checks on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Learn, Rationales, Train
from pipelines.core.records import Question, Rationale, TrainExample
from pipelines.train import choices
from pipelines.train.batches import collate
from pipelines.train.learner import Learner
from pipelines.train.references import Companions
from pipelines.train.step import counts, divisors, objective

CHOICES = ("a river", "a bridge", "a garden")
QUESTIONS = [
    Question(f"question {n}", f"q{n}", f"What is near the market in town {n}?", "", CHOICES, n % 3, "train")
    for n in range(3)
]
SAID = {"one": "The old bridge is between two islands.", "two": "List the books of the library."}


def _config(**weights: float) -> Rationales:
    sources = {
        name: {"kind": "file", "path": "x", "prefix": f"{name}: ", "weight": weight} for name, weight in weights.items()
    }
    return Rationales.model_validate({"sources": sources})


def _examples(
    config: Rationales, tokenizer: ChatTokenizer, missing: Sequence[tuple[str, str]] = ()
) -> list[TrainExample]:
    made: list[TrainExample] = []
    for question in QUESTIONS:
        rows = [
            Rationale(f"{name} of {question.id}", question.id, name, SAID[name], "", "stop")
            for name in config.heard
            if (name, question.id) not in missing
        ]
        kept, dropped = choices.of_question(
            question, choices.tasks_of(question, rows, config), tokenizer, Learn(), max_length=512
        )
        assert not dropped
        made += kept
    return made


@pytest.fixture
def learner(model: Any) -> Any:
    def made(config: Rationales) -> Learner:
        return Learner(model, Train(normalise="per_example").model_copy(update={"losses": config.losses}))

    return made


def _step(learner: Learner, config: Rationales, examples: Sequence[TrainExample]) -> tuple[dict[str, float], Tensor]:
    """(each loss as it is minimised, before its coefficient; the gradient of the objective, flat)."""
    train = Train(normalise="per_example").model_copy(update={"losses": config.losses})
    counted = counts(examples, {}, train)
    total = divisors({name: counted.get(name, 0) for name in config.losses})
    batch = collate(examples, {})
    sums = learner.sums(batch, Companions(train, None, None, None).read(batch))
    learner.zero_grad()
    objective(sums, total, config.losses).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad.flatten() for p in learner.parameters() if p.grad is not None]
    return {name: float(value.detach()) / total[name] for name, value in sums.items()}, torch.cat(gradients).clone()


def test_a_source_has_prefix_question_and_lettered_choices() -> None:
    asked = choices.source_of("predict: ", QUESTIONS[1])
    options = "(a) a river\n(b) a bridge\n(c) a garden"
    assert asked == f"predict: What is near the market in town 1?\nAnswer Choices:\n{options}"
    read = Question("id", "q", "Is it old?", "A text about a bridge.", ("yes", "no"), 0, "train")
    assert choices.source_of("", read).startswith("A text about a bridge.\nIs it old?\nAnswer Choices:\n(a) yes")


def test_every_task_of_a_question_has_its_own_loss_prefix_and_text(tokenizer: ChatTokenizer) -> None:
    config = _config(two=1.0, one=0.5)
    examples = _examples(config, tokenizer)
    assert [e.component for e in examples[:3]] == ["answer", "rationale one", "rationale two"]
    assert {e.group for e in examples[:3]} == {"question 0"}
    assert examples[1].answer_id == "one of question 0"
    for example, prefix, said in zip(examples[:3], ("predict: ", "one: ", "two: "),
                                     (CHOICES[0], SAID["one"], SAID["two"]), strict=True):  # fmt: skip
        text = tokenizer.decode_whole(example.token_ids)
        assert f"user\n{prefix}What is near" in text
        learnt = [id for id, weight in zip(example.token_ids, example.weights, strict=True) if weight]
        assert tokenizer.decode_whole(learnt) == f"{said}<|im_end|>"


def test_no_source_holds_answer_or_rationale(tokenizer: ChatTokenizer) -> None:
    """Check (c) of the specification: what is read says nothing of which choice is right."""
    config = _config(one=1.0, two=1.0)
    for question in QUESTIONS:
        others = [Question(question.id, "q", question.stem, "", CHOICES, n, "train") for n in range(3)]
        assert len({choices.source_of("explain: ", q) for q in others}) == 1
    for example in _examples(config, tokenizer):
        read = [id for id, weight in zip(example.token_ids, example.weights, strict=True) if not weight]
        assert not any(said in tokenizer.decode_whole(read) for said in SAID.values())


def test_a_weight_of_0_gives_the_gradient_of_answers_alone(tokenizer: ChatTokenizer, learner: Any) -> None:
    """Check (a)."""
    none, muted = _config(), _config(one=0.0, two=0.0)
    plain = _step(learner(none), none, _examples(none, tokenizer))[1]
    assert muted.losses == {"answer": 1.0}
    assert torch.equal(_step(learner(muted), muted, _examples(muted, tokenizer))[1], plain)
    small = _config(one=1e-9, two=1e-9)  # the same limit with the tasks in the batch
    torch.testing.assert_close(
        _step(learner(small), small, _examples(small, tokenizer))[1], plain, atol=1e-6, rtol=1e-4
    )


def test_a_prefix_changes_the_loss_of_its_source_only(tokenizer: ChatTokenizer, learner: Any) -> None:
    """Check (b)."""
    config = _config(one=1.0, two=1.0)
    other = config.model_copy(
        update={"sources": {**config.sources, "two": config.sources["two"].model_copy(update={"prefix": "why: "})}}
    )
    before, after = (_step(learner(c), c, _examples(c, tokenizer))[0] for c in (config, other))
    for name in ("answer", "rationale one"):
        assert after[name] == pytest.approx(before[name], abs=1e-5)
    assert abs(after["rationale two"] - before["rationale two"]) > 1e-3


def test_a_missing_rationale_is_a_zero_in_a_mean_over_questions(tokenizer: ChatTokenizer, learner: Any) -> None:
    """Check (d): nothing is learnt in its place, and the others weigh no more than before."""
    config = _config(one=1.0)
    whole = _examples(config, tokenizer)
    gap = _examples(config, tokenizer, missing=[("one", "question 2")])
    assert len(gap) == len(whole) - 1
    alone = [_step(learner(config), config, [e for e in whole if e.group == q.id])[0] for q in QUESTIONS]
    by_hand = (alone[0]["rationale one"] + alone[1]["rationale one"]) / 3
    assert _step(learner(config), config, gap)[0]["rationale one"] == pytest.approx(by_hand, rel=1e-4)


def test_the_order_of_sources_changes_nothing(tokenizer: ChatTokenizer) -> None:
    """Check (e)."""
    one, other = _config(one=0.5, two=2.0), _config(two=2.0, one=0.5)
    assert _examples(one, tokenizer) == _examples(other, tokenizer)
    assert one.losses == other.losses == {"answer": 1.0, "rationale one": 0.5, "rationale two": 2.0}


def test_nothing_of_a_question_is_learnt_whose_answer_is_too_long(tokenizer: ChatTokenizer) -> None:
    config = _config(one=1.0)
    row = Rationale("r", QUESTIONS[0].id, "one", SAID["one"], "", "stop")
    tasks = choices.tasks_of(QUESTIONS[0], [row], config)
    made, dropped = choices.of_question(QUESTIONS[0], tasks, tokenizer, Learn(), max_length=20)
    assert not made
    assert [(d.reason, d.stage) for d in dropped] == [("too long", "examples")]


def test_an_encoder_reads_the_source_alone(tiny_t5: Path) -> None:
    config: Mapping[str, Any] = {"one": 1.0}
    tokenizer = ChatTokenizer(str(tiny_t5), "bare")
    examples = _examples(_config(**config), tokenizer)
    assert all(e.encoder_ids for e in examples)
    assert "predict:" in tokenizer.decode(examples[0].encoder_ids)
