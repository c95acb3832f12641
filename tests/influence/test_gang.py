"""One probe of two processes, on real Ray: it measures what one process does, and ends as a whole."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from cluster.session import Session, session
from pipelines.core.config import LoRA, Probing
from pipelines.core.errors import UserError
from pipelines.core.parts import write_rows
from pipelines.core.records import Dropped, Influence, TrainExample
from pipelines.core.storage import Folder
from pipelines.generate.teacher import TeacherGone
from pipelines.influence.gang import Gang
from pipelines.influence.job import ProbeJob
from pipelines.influence.sharded import shard
from pipelines.train.attention import load

Make = Callable[..., ProbeJob]


@pytest.fixture(scope="module")
def ray_session() -> Iterator[Session]:
    with session() as live:
        yield live


@pytest.fixture
def job(trained: Callable[..., Any], wanted: list[TrainExample], tmp_path: Path) -> Make:
    reference = Folder(str(tmp_path / "reference"))
    write_rows(reference, wanted, TrainExample)

    def make(adapters: LoRA | None = None) -> ProbeJob:
        stage = trained(rate=1e-3, adapters=adapters).stage
        return ProbeJob(Folder(str(stage)), reference, Probing(shards=2, every_layer=1 if adapters else 2), threads=1)

    return make


@pytest.mark.engine
@pytest.mark.parametrize("adapters", [None, LoRA(rank=8)])
def test_two_processes_measure_what_one_does(
    adapters: LoRA | None, ray_session: Session, job: Make, rows: list[TrainExample]
) -> None:
    made = job(adapters)
    gang, alone = Gang(made), replace(made, config=made.config.model_copy(update={"shards": 1})).probe()
    for row in rows[:3]:
        for method in ("exact", "first_order"):
            ours, its = gang.influence(row, method), alone.influence(row, method)
            assert isinstance(ours, Influence)
            assert isinstance(its, Influence)
            assert abs(its.influence) > 1e-5
            assert ours.influence == pytest.approx(its.influence, rel=1e-3, abs=1e-6)
    gang.check()
    endless = replace(rows[0], token_ids=rows[0].token_ids * 100, weights=rows[0].weights * 100)
    told = gang.influence(endless, "exact")
    assert isinstance(told, Dropped)
    assert told.reason == "too long"
    ray.kill(gang._members[1])
    with pytest.raises(TeacherGone, match="a process of the probe died"):
        gang.check()


def test_a_model_of_two_stacks_is_not_spread(tiny_t5: Path) -> None:
    with pytest.raises(UserError, match=r"probe\.shards: .* leave it at 1"):
        shard(load(tiny_t5, torch.float32))
