"""Learning rates, worked by hand."""

import pytest

from pipelines.core.config import Train
from pipelines.train.schedule import learning_rate


def rates(steps: int = 10, **settings: object) -> list[float]:
    config = Train.model_validate({"learning_rate": 0.5, "warmup": 0.2, "final_learning_rate": 0.2, **settings})
    return [learning_rate(config, step, steps) / 0.5 for step in range(steps)]


@pytest.mark.parametrize(
    ("schedule", "after_warm_up"),
    [
        ("linear", [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]),
        # 0.2 + 0.8 · (1 + cos(π·k/8)) / 2
        ("cosine", [0.96955, 0.88284, 0.75307, 0.6, 0.44693, 0.31716, 0.23045, 0.2]),
        ("constant", [1.0] * 8),
    ],
)
def test_two_steps_of_warm_up_and_eight_of_the_schedule(schedule: str, after_warm_up: list[float]) -> None:
    assert rates(schedule=schedule) == pytest.approx([0.5, 1.0, *after_warm_up], abs=1e-5)


def test_wsd_falls_in_its_last_steps_only() -> None:
    assert rates(schedule="wsd", decay=0.4) == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


def test_a_ramp_rises_to_the_end_whatever_the_warm_up() -> None:
    assert rates(schedule="ramp") == pytest.approx([0.1 * n for n in range(1, 11)])


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd", "constant", "ramp"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_few_steps_have_rates_too(schedule: str, steps: int) -> None:
    assert all(0 < rate <= 1 for rate in rates(steps, schedule=schedule, warmup=0.0))
