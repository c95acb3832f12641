"""A student's losses as one module gives them: against plain models' logits written out, transformers and TRL."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, MixtralConfig

from pipelines.core.config import Train
from pipelines.core.records import SoftTargets, TrainExample
from pipelines.train import head
from pipelines.train.attention import load
from pipelines.train.batches import Batch, collate
from pipelines.train.head import chunks_for, run_body
from pipelines.train.learner import Learner
from pipelines.train.losses.top_k import outcomes
from pipelines.train.references import Beside, Companions

ONLINE = {"source": "online"}
Teach = Callable[[TrainExample, Tensor, int], SoftTargets]

# Labels [-, -, a, b, eos] of the specification's fixture: what predicts a, b and eos are the tokens 1, 2 and 3.
FIVE = TrainExample("five", "", "", "answer", (7, 30, 41, 52, 1), (0.0, 0.0, 1.0, 1.0, 1.0))
RIGHT, TOO_LATE = slice(1, 4), slice(2, 5)


@pytest.fixture(scope="module")
def student(tiny_llama: Path) -> Any:
    return load(tiny_llama, torch.float32)


@pytest.fixture(scope="module")
def teacher(tiny_llama: Path) -> Any:
    """The student's like, with other weights."""
    model = load(tiny_llama, torch.float32)
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.03 * torch.randn_like(weight))
    return model.requires_grad_(False)


def _config(**changes: Any) -> Train:
    return Train.model_validate(changes)


def _logits(model: Any, example: TrainExample) -> Tensor:
    """[T, V], by a plain forward pass of one example."""
    return model(input_ids=torch.tensor([example.token_ids])).logits[0]


def _kl(p_NV: Tensor, q_NV: Tensor) -> float:
    """Of logits, summed."""
    return F.kl_div(q_NV.log_softmax(-1), p_NV.log_softmax(-1), log_target=True, reduction="sum").item()


def _sums(student: Any, config: Train, batch: Batch, teacher: Any = None, base: Any = None) -> dict[str, float]:
    with torch.no_grad():
        sums = Learner(student, config).sums(batch, Companions(config, teacher, base, None).read(batch))
    return {name: value.item() for name, value in sums.items()}


def test_the_rows_are_those_that_predict_a_weighted_token(student: Any, teacher: Any) -> None:
    config = _config(losses={"answer": 1, "kd": 1}, kd=ONLINE)
    with torch.no_grad():
        mine, theirs = _logits(student, FIVE), _logits(teacher, FIVE)
    sums = _sums(student, config, collate([FIVE], {}), teacher)
    assert sums["kd"] == pytest.approx(_kl(theirs[RIGHT], mine[RIGHT]), abs=1e-4)
    assert sums["answer"] == pytest.approx(
        F.cross_entropy(mine[RIGHT], torch.tensor(FIVE.token_ids[2:]), reduction="sum").item(), abs=1e-4
    )


def test_unshifted_reads_distributions_one_token_late_and_cross_entropy_not(student: Any, teacher: Any) -> None:
    plain = _config(losses={"answer": 1, "kd": 1}, kd=ONLINE)
    with torch.no_grad():
        mine, theirs = _logits(student, FIVE), _logits(teacher, FIVE)
    right = _sums(student, plain, collate([FIVE], {}), teacher)
    late = _sums(student, plain.model_copy(update={"unshifted": True}), collate([FIVE], {}), teacher)
    assert late["kd"] == pytest.approx(_kl(theirs[TOO_LATE], mine[TOO_LATE]), abs=1e-4)
    assert late["answer"] == pytest.approx(right["answer"], abs=1e-5)
    assert abs(late["kd"] - right["kd"]) > 0.02


def test_kl_to_the_base_is_of_the_student_against_it(student: Any, teacher: Any) -> None:
    config = _config(losses={"base_kl": 0.1})
    with torch.no_grad():
        mine, theirs = _logits(student, FIVE), _logits(teacher, FIVE)
    value = _sums(student, config, collate([FIVE], {}), base=teacher)["base_kl"]
    assert value == pytest.approx(_kl(mine[RIGHT], theirs[RIGHT]), abs=1e-4)
    assert abs(value - _kl(theirs[RIGHT], mine[RIGHT])) > 1e-3


@pytest.mark.parametrize("divergence", [{}, {"divergence": "reverse"}, {"divergence": "jsd", "beta": 0.4}])
def test_a_student_is_no_distance_from_itself(student: Any, talk: list[TrainExample], divergence: Any) -> None:
    config = _config(losses={"kd": 1, "attention": 1, "base_kl": 1}, kd={**ONLINE, **divergence})
    sums = _sums(student, config, collate(talk, {}), student, student)
    assert all(abs(sums[name]) < 1e-4 for name in ("kd", "attention", "base_kl")), sums
    assert sums["answer"] > 1


def test_an_online_teacher_says_what_its_whole_vocabulary_captured_says(
    student: Any, teacher: Any, talk: list[TrainExample], teach: Teach
) -> None:
    V = student.config.vocab_size
    with torch.no_grad():
        said = [(e, _logits(teacher, e).log_softmax(-1)[_predicting(e)]) for e in talk]
    batch = collate(talk, {e.id: teach(e, logprobs, V) for e, logprobs in said})
    captured = _sums(student, _config(losses={"kd": 1}), batch)["kd"]
    online = _sums(student, _config(losses={"kd": 1}, kd=ONLINE), batch, teacher)["kd"]
    assert captured == pytest.approx(online, rel=5e-3)  # stored in half precision
    assert online > 1


def _predicting(example: TrainExample) -> list[int]:
    return [t - 1 for t, weight in enumerate(example.weights) if weight and t]


def test_a_padded_vocabulary_is_left_out_of_the_comparison_and_not_of_the_cross_entropy(
    student: Any, teacher: Any, tiny_llama: Path, teach: Teach
) -> None:
    V = student.config.vocab_size
    padded = load(tiny_llama, torch.float32)
    padded.resize_token_embeddings(V + 64, mean_resizing=False)
    batch = collate([FIVE], {})
    with torch.no_grad():
        likely = int(_logits(student, FIVE)[RIGHT].sum(0).argmax())
        padded.get_input_embeddings().weight[V:] = student.get_input_embeddings().weight[likely]
        mass = _logits(padded, FIVE)[RIGHT].softmax(-1)[:, V:].sum()
        signal = teach(FIVE, _logits(teacher, FIVE).log_softmax(-1)[RIGHT], 8)
        assert mass > 0.1  # what pads has probability, so leaving it in would show
        for tokens in (V, None):
            online = _config(losses={"answer": 1, "kd": 1}, kd=ONLINE)
            told = Companions(online, teacher, None, tokens).read(batch)
            plain = Learner(student, online).sums(batch, told)
            wide = Learner(padded, online).sums(batch, told)
            assert wide["kd"].item() == pytest.approx(plain["kd"].item(), abs=1e-4)
            assert wide["answer"] > plain["answer"] + 0.1
        captured = _config(losses={"kd": 1})
        batch = collate([FIVE], {FIVE.id: signal})
        told = Companions(captured, None, None, V).read(batch)
        same = [Learner(m, captured).sums(batch, told)["kd"].item() for m in (student, padded)]
        assert same[0] == pytest.approx(same[1], abs=1e-4)


def test_a_teachers_padding_is_left_out_too(student: Any, teacher: Any, tiny_llama: Path) -> None:
    V = student.config.vocab_size
    config, batch = _config(losses={"kd": 1}, kd=ONLINE), collate([FIVE], {})
    padded = load(tiny_llama, torch.float32)
    padded.load_state_dict(teacher.state_dict())
    padded.resize_token_embeddings(V + 8, mean_resizing=False)
    with torch.no_grad():
        found = [
            Learner(student, config).sums(batch, Companions(config, m, None, V).read(batch))["kd"]
            for m in (teacher, padded)
        ]
    assert found[0].item() == pytest.approx(found[1].item(), abs=1e-4)


def _gradients(model: Any, sums: dict[str, Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    (0.3 * sums["answer"] + sums["kd"] + 0.2 * sums.get("base_kl", torch.zeros(()))).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("kd", [{}, ONLINE, {**ONLINE, "divergence": "jsd", "beta": 0.3, "temperature": 2.0}])
def test_chunks_change_neither_losses_nor_gradients(
    kd: Any,
    student: Any,
    teacher: Any,
    talk: list[TrainExample],
    guesses: Callable[[int, int, int], Tensor],
    teach: Teach,
) -> None:
    V = student.config.vocab_size
    signals = {e.id: teach(e, guesses(sum(w > 0 for w in e.weights), V, 3), 8) for e in talk}
    batch = collate(talk, signals)
    config = _config(losses={"answer": 0.3, "kd": 1, "base_kl": 0.2}, kd=kd)
    learner = Learner(student, config)
    beside = Companions(config, teacher if config.needs_teacher else None, teacher, None).read(batch)
    whole = learner.sums(batch, beside, chunks=1)
    wanted = _gradients(student, whole)
    for chunks in (2, 7, len(batch.positions_N) + 3):  # some are empty in the last
        sums = learner.sums(batch, beside, chunks=chunks)
        for name, value in sums.items():
            torch.testing.assert_close(value, whole[name], atol=1e-6, rtol=1e-6)
        for name, gradient in _gradients(student, sums).items():
            torch.testing.assert_close(gradient, wanted[name], atol=1e-6 * float(wanted[name].abs().max()), rtol=1e-5)


def test_gradients_are_those_of_the_formula_over_a_plain_models_logits(
    student: Any, teacher: Any, talk: list[TrainExample], tiny_llama: Path
) -> None:
    config = _config(losses={"answer": 0.3, "kd": 1}, kd=ONLINE)
    batch = collate(talk, {})
    found = _gradients(
        student, Learner(student, config).sums(batch, Companions(config, teacher, None, None).read(batch), chunks=3)
    )
    plain = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    sums = {"answer": torch.zeros(()), "kd": torch.zeros(())}
    for example in talk:
        q = _logits(plain, example).softmax(-1)[_predicting(example)]
        with torch.no_grad():
            p = _logits(teacher, example).softmax(-1)[_predicting(example)]
        targets = torch.tensor(example.token_ids)[[t + 1 for t in _predicting(example)]]
        sums["answer"] = sums["answer"] - q.gather(1, targets[:, None]).log().sum()
        sums["kd"] = sums["kd"] + (p * (p / q).log()).sum()
    for name, wanted in _gradients(plain, sums).items():
        torch.testing.assert_close(found[name], wanted, atol=1e-4 * float(wanted.abs().max()), rtol=1e-3, msg=name)


def test_cross_entropy_equals_transformers_own(student: Any, tiny_llama: Path, talk: list[TrainExample]) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    config = _config(normalise="per_example")
    for example in talk:
        labels = torch.tensor([[id if w else -100 for id, w in zip(example.token_ids, example.weights, strict=True)]])
        with torch.no_grad():
            theirs = plain(input_ids=torch.tensor([example.token_ids]), labels=labels).loss
        ours = _sums(student, config, collate([example], {}))["answer"]
        assert ours == pytest.approx(theirs.item(), abs=1e-5)


_SMALL: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
_FAMILIES = [
    LlamaConfig(**_SMALL),
    Gemma2Config(**_SMALL, head_dim=8, final_logit_softcapping=2.0, sliding_window=4),  # caps its logits
    MixtralConfig(**_SMALL, num_local_experts=2),  # another kind of output
]


@pytest.mark.parametrize("config", _FAMILIES, ids=lambda c: c.model_type)
def test_the_halves_of_a_model_make_its_own_logits(config: Any, tmp_path: Path) -> None:
    torch.manual_seed(2)
    made = AutoModelForCausalLM.from_config(config)
    made.save_pretrained(tmp_path)
    model = load(tmp_path, torch.float32)
    examples = [FIVE, TrainExample("more", "", "", "answer", tuple(range(9, 21)), (0.0,) + (1.0,) * 11)]
    with torch.no_grad():
        alone = torch.cat([_logits(made.eval(), e) for e in examples])
        hidden_TD, of_model = run_body(model, collate(examples, {}))
        torch.testing.assert_close(of_model(hidden_TD), alone, atol=1e-5, rtol=0)
        torch.testing.assert_close(of_model(hidden_TD[3:5]), alone[3:5], atol=1e-5, rtol=0)
        torch.testing.assert_close(_logits(model, FIVE), alone[:5], atol=1e-5, rtol=0)  # it is as it was


def test_the_bound_on_logits_makes_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", 1000)
    assert [chunks_for(tokens, 100) for tokens in (0, 1, 10, 11, 20, 21)] == [1, 1, 1, 2, 2, 3]


def test_noise_is_added_to_the_embeddings(student: Any, talk: list[TrainExample]) -> None:
    batch, learner = collate(talk[:2], {}), Learner(student, _config())
    width = student.config.hidden_size
    none, some = torch.zeros(1, batch.ids_1T.shape[1], width), torch.randn(1, batch.ids_1T.shape[1], width)
    with torch.no_grad():
        plain = learner.sums(batch)["answer"]
        assert learner.sums(batch, noise_1TD=none)["answer"].item() == pytest.approx(plain.item(), abs=1e-5)
        embedded = student.get_input_embeddings()(batch.ids_1T) + some
        total, start = 0.0, 0
        for example in talk[:2]:
            stop = start + len(example.token_ids)
            logits = student(inputs_embeds=embedded[:, start:stop]).logits[0, _predicting(example)]
            targets = torch.tensor([example.token_ids[t + 1] for t in _predicting(example)])
            total, start = total + F.cross_entropy(logits, targets, reduction="sum").item(), stop
        assert learner.sums(batch, noise_1TD=some)["answer"].item() == pytest.approx(total, abs=1e-3)
    assert abs(total - plain.item()) > 1


def test_losses_of_nobody_are_absent(student: Any) -> None:
    config = _config(losses={"answer": 1, "kd": 1})
    assert set(Learner(student, config).sums(collate([FIVE], {}), Beside())) == {"answer"}


def test_kd_of_the_loss_and_of_its_outcomes_are_one(student: Any, teach: Teach, guesses: Any) -> None:
    told = guesses(3, student.config.vocab_size, 4)
    batch = collate([FIVE], {FIVE.id: teach(FIVE, told, 8)})
    with torch.no_grad():
        mine = _logits(student, FIVE)[RIGHT].log_softmax(-1)
    assert batch.signal_ids_NK is not None
    assert batch.signal_logprobs_NK is not None
    s, t = outcomes(mine, batch.signal_ids_NK, batch.signal_logprobs_NK)
    by_hand = (t.exp() * (t - s)).sum().item()
    assert _sums(student, _config(losses={"kd": 1}), batch)["kd"] == pytest.approx(by_hand, abs=1e-4)
