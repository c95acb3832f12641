"""What is told of rounds of influence before they start, worked by hand, and what preflight looks at."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from pipelines.core.errors import UserError
from pipelines.core.recipe import Montessori, recipe_of
from pipelines.runs import estimates, preflight, round_estimates
from serving.faculty import ClusterFaculty


def read(data: dict[str, Any], **rounds: Any) -> Montessori:
    """Two rounds; 8 of 12 rows are probed in each."""
    made = deepcopy(data)
    made["rounds"] |= {"count": 2, "tune": {"max_length": 50}, **rounds}
    made["student"]["train"] = {"max_length": 100, "epochs": 2}
    made["evaluate"] = {"rows": 5, "students": 3}
    recipe = recipe_of(made)
    assert isinstance(recipe, Montessori)
    return recipe


def told(recipe: Montessori) -> str:
    return "\n".join(preflight.local_facts(recipe, ClusterFaculty(recipe)))


def test_three_teachers_write_and_nine_students_learn(montessori_data: dict[str, Any]) -> None:
    made = read(montessori_data)
    # 12 instructions of each teacher, 8 to a reply of 400 tokens; no seed is answered.
    assert [(s.step, s.teacher, s.rows, s.tokens) for s in estimates.shares(made, 108)] == [
        ("instructions", "main", 36, 2400), ("answers", "main", 36, 36 * 128),
    ]  # fmt: skip
    assert estimates.examples(made, 108) == (3 * 3 * 5 * 2, 9000)


@pytest.mark.parametrize(("samples", "most", "pairs"), [(4, None, (4, 8)), (4, 1, (1, 2)), (3, None, (2, 6))])
def test_half_of_a_prompts_completions_help(
    montessori_data: dict[str, Any], samples: int, most: int | None, pairs: tuple[int, int]
) -> None:
    montessori_data["instructions"]["samples"] = samples
    made = read(montessori_data, preferences={"most_per_prompt": most})
    assert round_estimates.probed(made) == 8
    assert round_estimates.preferences(made) == pairs


def test_what_probing_and_tuning_take(montessori_data: dict[str, Any]) -> None:
    reference = {"reference": {"path": "seeds", "limit": 10}}
    # A round: 8 passes over 10 reference rows and 8 preferences seen before; 4 rows to warm up on, 8 steps, 8 checked.
    scored, pairs = 5 * 100 * 8 * 10, 7 * 2 * 8 * 50
    made = read(montessori_data, probe=reference)
    assert round_estimates.work(made, 10, 7, 5) == (2 * (scored + pairs), 2 * (5 * 100 * (4 + 8 + 8) + pairs))
    made = read(montessori_data, probe={**reference, "method": "exact"})
    assert round_estimates.work(made, 10, 7, 5) == (2 * (scored + pairs), 2 * (5 * 100 * (4 + 8) + pairs))


def test_gpu_hours_have_the_rounds_in_them(montessori_data: dict[str, Any]) -> None:
    made, big = read(montessori_data), 10**15
    scored, learnt = round_estimates.work(made, 16, big, big)
    wrote = sum(share.tokens for share in estimates.shares(made, 108))
    flops = 2 * (big * wrote + scored) / 100e12 + 6 * (big * 9000 + learnt) / 350e12
    assert f"about {flops / 3600:,.0f}, if" in estimates.gpu_hours(made, 108, {"main": big}, big, 16)


def test_plan_tells_of_rounds_and_of_all_that_must_fit(montessori_data: dict[str, Any]) -> None:
    words = told(read(montessori_data))
    for line in (
        "rounds: 2; in each up to 8 rows are probed (method first_order, 16 reference rows), and main is tuned on up "
        "to 8 preferences, 4 of each prompt's 4 completions",
        "training: up to 90 examples and 9,000 tokens, in 2 epoch(s)",
        "memory: main is tuned in about",
        "memory: each probe of the student up to about",
    ):
        assert line in words, line


def test_reference_rows_are_counted_where_they_lie(montessori_data: dict[str, Any]) -> None:
    assert "192 reference rows" in told(read(montessori_data, probe={"reference": {"path": "seeds"}}))
    assert "7 reference rows" in told(read(montessori_data, probe={"reference": {"limit": 7}}))


def test_every_training_has_its_trackers_checked(
    montessori_data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(preflight.track, "check", lambda where, _: seen.append(where))
    told(read(montessori_data))
    assert seen == ["student.train.track", "rounds.warm_up.train.track", "rounds.tune.track"]


def test_an_encoder_decoder_is_refused(montessori_data: dict[str, Any], tiny_t5: Path) -> None:
    montessori_data["student"]["init"]["model"] = str(tiny_t5)
    with pytest.raises(UserError, match="'montessori' renders what teachers write"):
        told(read(montessori_data))
