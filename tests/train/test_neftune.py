"""NEFTune's noise: its size, and what it depends on."""

import math

import pytest
import torch

from pipelines.core.records import TrainExample
from pipelines.train.batches import collate
from pipelines.train.neftune import noise

LONG, SHORT = (TrainExample(str(n), "", "", "answer", (1,) * n, (0.0,) + (1.0,) * (n - 1)) for n in (40, 10))


def test_each_examples_noise_is_uniform_within_its_own_bound() -> None:
    width, alpha = 64, 5.0
    values = noise(collate([LONG, SHORT], {}), width, alpha, seed=1, step=0)[0]
    assert values.shape == (50, width)
    for length, own in ((40, values[:40]), (10, values[40:])):
        bound = alpha / math.sqrt(length * width)
        assert 0.99 * bound < own.abs().max() <= bound
        assert own.mean().abs() < 0.1 * bound
        assert own.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_it_depends_on_seed_step_and_example_and_not_on_the_pack() -> None:
    packed = noise(collate([LONG, SHORT], {}), 8, 5.0, seed=1, step=3)
    alone = noise(collate([SHORT], {}), 8, 5.0, seed=1, step=3)
    assert torch.equal(packed[:, 40:], alone)
    for seed, step in ((2, 3), (1, 4)):
        assert not torch.equal(noise(collate([SHORT], {}), 8, 5.0, seed, step), alone)
    assert not torch.equal(packed[:, :10], alone)
