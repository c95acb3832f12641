"""A process's probe: many ask at once, rows go in handfuls, and nothing is told that a moved baseline would void."""

import asyncio
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.core.config import Probing
from pipelines.core.parts import write_rows
from pipelines.core.records import Influence, InfluenceMethod, TrainExample
from pipelines.core.storage import Folder
from pipelines.influence.job import ProbeJob
from pipelines.influence.probe import BaselineMoved, Probe
from pipelines.influence.prober import Prober
from pipelines.influence.work import InfluenceRequest, Unfit, influence_request


@pytest.fixture
def job(trained: Callable[..., Any], wanted: list[TrainExample], tmp_path: Path) -> ProbeJob:
    reference = Folder(str(tmp_path / "reference"))
    write_rows(reference, wanted, TrainExample)
    return ProbeJob(Folder(str(trained().stage)), reference, Probing(check_every=4), torch.get_num_threads())


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How often the restored student was looked at."""
    seen, check = [], Probe.check

    def watched(self: Probe) -> None:
        seen.append(1)
        check(self)

    monkeypatch.setattr(Probe, "check", watched)
    return iter([seen])


def asked(rows: list[TrainExample], method: InfluenceMethod) -> list[InfluenceRequest]:
    return [influence_request("probe", row, method) for row in rows]


def together(prober: Prober, requests: list[InfluenceRequest]) -> list[Any]:
    async def all() -> list[Any]:
        return await asyncio.gather(*(request.put_to(prober) for request in requests), return_exceptions=True)

    return asyncio.run(all())


def test_what_many_ask_at_once_is_what_each_would_be_told_alone(
    job: ProbeJob, rows: list[TrainExample], looks: Iterator[list[int]]
) -> None:
    seen, requests = next(looks), asked(rows[:10], "exact")
    crowd = together(Prober(job), requests)
    assert len(seen) == 3  # handfuls of 4, 4 and 2
    alone = Prober(job)
    assert crowd == [together(alone, [request])[0] for request in requests]
    assert [found.id for found in crowd] == [request.id for request in requests]
    assert len(seen) == 13


def test_an_estimate_needs_no_look(job: ProbeJob, rows: list[TrainExample], looks: Iterator[list[int]]) -> None:
    told = together(Prober(job), asked(rows[:6], "first_order"))
    assert all(isinstance(found, Influence) and found.method == "first_order" for found in told)
    assert next(looks) == []


def test_a_row_that_cannot_be_probed_costs_no_other(job: ProbeJob, rows: list[TrainExample]) -> None:
    mute = replace(rows[0], id="mute", weights=(0.0,) * len(rows[0].weights))
    lost, found = together(Prober(job), asked([mute, rows[1]], "exact"))
    assert isinstance(lost, Unfit)
    assert (lost.reason, str(lost)) == ("nothing to learn", "no token has a weight")
    assert pickle.loads(pickle.dumps(lost)).reason == lost.reason
    assert isinstance(found, Influence)


def test_nothing_is_told_where_the_baseline_moved(job: ProbeJob, rows: list[TrainExample]) -> None:
    prober = Prober(job)
    with torch.no_grad():
        prober._probe._warm.trained["model.norm.weight"].mul_(1.001)
    assert all(isinstance(each, BaselineMoved) for each in together(prober, asked(rows[:3], "exact")))


def test_who_leaves_takes_nothing_from_the_others(job: ProbeJob, rows: list[TrainExample]) -> None:
    prober, requests = Prober(job), asked(rows[:3], "exact")

    async def one_leaves() -> list[Any]:
        tasks = [asyncio.ensure_future(prober.influence(request)) for request in requests]
        await asyncio.sleep(0)
        tasks[0].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    left, *stayed = asyncio.run(one_leaves())
    assert isinstance(left, asyncio.CancelledError)
    assert [found.row_id for found in stayed] == [row.id for row in rows[1:3]]


def test_an_id_is_of_one_probe_one_method_and_one_row(rows: list[TrainExample]) -> None:
    ids = {
        influence_request(probe, row, method).id
        for probe in ("one", "other")
        for row in rows[:2]
        for method in ("exact", "first_order")
    }
    assert len(ids) == 8
