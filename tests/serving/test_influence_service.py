"""A probe behind Serve: its figures are a local probe's, whatever replica gave them, and no row is lost with one."""

import asyncio
import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import actors
import httpx2
import pytest
import torch
from fastapi import HTTPException
from pydantic import TypeAdapter, ValidationError
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import RayServeException
from safetensors.torch import save_file

from cluster.session import session
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Probing
from pipelines.core.errors import UserError
from pipelines.core.parts import rows_of, write_rows
from pipelines.core.records import Conversation, Dropped, Influence, TrainExample
from pipelines.core.stage import Done
from pipelines.core.storage import Folder
from pipelines.influence import given_rows
from pipelines.influence.encoder import Encoder
from pipelines.influence.probe import BaselineMoved, Probe
from pipelines.influence.reference import Reference
from pipelines.influence.state import Warm
from pipelines.influence.work import InfluenceRequest, Unfit
from pipelines.runs.serve import HELLO_PROBE
from pipelines.train.attention import load
from pipelines.train.job import MODEL
from pipelines.train.keep import WARM
from serving import influence
from serving.endpoints import Endpoints, held_port
from serving.influence import Asked, Ingress, Persistent, Replica, Row, Rows, ServedProbe

LONGEST = 96
THINGS = ("bread", "river", "garden", "library", "bridge", "engine", "clock", "violin")
ROWS = [
    {"id": f"about the {thing}", "instruction": f"Describe the {thing}.", "response": f"The {thing} is old."}
    for thing in THINGS
]
BAD_ROWS = [
    ({"id": "mute", "instruction": "Describe the bread.", "response": " "}, ("mute", "empty")),
    ({"instruction": "Describe the bread.", "response": 3}, ("rows[1]", "not a row")),
    ({"id": "half", "instruction": "Describe \ud800.", "response": "It is old."}, ("rows[2]", "not a row")),
    ({"id": "long", "instruction": "Describe the bread.", "response": "bread " * LONGEST}, ("long", "too long")),
]
FIGURES = ("influence", "before", "after", "null_step", "own_loss")


@pytest.fixture(scope="module")
def encode(tiny_llama: Path) -> Encoder:
    return Encoder(ChatTokenizer(str(tiny_llama)), LONGEST)


@pytest.fixture(scope="module")
def student(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A student's stage as training leaves it warm, but for moments that are drawn."""
    stage = tmp_path_factory.mktemp("student")
    shutil.copytree(tiny_llama, stage / MODEL)
    model = load(tiny_llama, torch.float32)
    masters = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    torch.manual_seed(2)
    (stage / WARM).mkdir()
    save_file(masters, stage / WARM / "masters.safetensors")
    save_file({n: 1e-3 * torch.randn_like(w) for n, w in masters.items()}, stage / WARM / "exp_avg.safetensors")
    save_file({n: 1e-6 * torch.ones_like(w) for n, w in masters.items()}, stage / WARM / "exp_avg_sq.safetensors")
    settings = {"lr": 1e-4, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.0, "steps_done": 4}
    (stage / WARM / "optimizer.json").write_text(json.dumps(settings))
    return Done(Folder(str(stage)), {"digest": "of the student"})


@pytest.fixture(scope="module")
def reference(encode: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = Folder(str(tmp_path_factory.mktemp("reference")))
    talks = [Conversation(t, "", (f"Explain the {t}.", f"A {t} is behind the market."), "", "{}") for t in THINGS[:4]]
    write_rows(folder, [encode(talk) for talk in talks], TrainExample)
    return Done(folder, {"digest": "of the reference", "rows": len(talks)})


@pytest.fixture(scope="module")
def probe(student: Done, reference: Done, encode: Encoder) -> ServedProbe:
    config = Probing.model_validate({"method": "exact", "check_every": 4, "pool": {"min": 2, "max": 2}})
    return ServedProbe(config, student, reference, encode)


Local = Callable[[dict[str, Any], str], Influence]


@pytest.fixture(scope="module")
def local(probe: ServedProbe) -> Local:
    """What a probe in this process says."""
    warm = Warm.read(probe.student.folder.local_path())
    here = Probe(warm, Reference(list(rows_of(probe.reference.folder, TrainExample)), probe.config.normalise))

    def tell(row: dict[str, Any], method: Any) -> Influence:
        example = given_rows.of_row(row, "", probe.encode)
        assert isinstance(example, TrainExample)
        found = here.influence(example, method)
        assert isinstance(found, Influence)
        return found

    return tell


def assert_told(told: Sequence[dict[str, Any]], asked: Sequence[dict[str, Any]], local: Local, method: str) -> None:
    """One answer for each row that was asked, in order, and the local probe's."""
    assert [row["id"] for row in told] == [row["id"] for row in asked]
    expected = {row["response"]: local(row, method) for row in asked}
    for row, answer in zip(asked, told, strict=True):
        wanted = expected[row["response"]]
        assert answer["method"] == method
        assert (answer["noise"] > 0) == (method == "exact")
        figures = [getattr(wanted, name) for name in FIGURES]
        assert [answer[name] for name in FIGURES] == pytest.approx(figures, abs=2e-5)


def a_request(probe: ServedProbe, name: str = "one") -> InfluenceRequest:
    example = given_rows.of_row(ROWS[0], "", probe.encode)
    assert isinstance(example, TrainExample)
    return InfluenceRequest(name, example, "exact")


def found(request: InfluenceRequest) -> Influence:
    return Influence(request.id, request.example.id, request.method, 1.0, 3.0, 1.0, 2.0, 0.1, 4.0)


# Without Ray.


def test_a_row_comes_bare_or_among_others() -> None:
    read: Callable[[Any], Row | Rows] = TypeAdapter(Asked).validate_python
    bare, many = read({**ROWS[0], "method": "exact"}), read({"rows": ROWS})
    assert (bare.rows, bare.method) == ([{**ROWS[0], "input": ""}], "exact")
    assert (many.rows, many.method) == (ROWS, None)
    for bad in ({"rows": []}, {"rows": ROWS, "more": 1}, {**ROWS[0], "more": 1}, {"rows": ROWS * 200}, [], {}):
        with pytest.raises(ValidationError):
            read(bad)


def ingress(probe: ServedProbe, ask: Callable[[InfluenceRequest], Awaitable[Any]]) -> Ingress:
    return Ingress(SimpleNamespace(influence=SimpleNamespace(remote=ask)), probe)


def test_answers_stand_in_the_order_of_their_rows(probe: ServedProbe) -> None:
    """Also those of rows that no probe was asked about."""
    waits = iter([0.03, 0.02, 0.01])

    async def ask(request: InfluenceRequest) -> Influence:
        await asyncio.sleep(next(waits))
        return found(request)

    mute, half = BAD_ROWS[0][0], BAD_ROWS[2][0]
    answer = asyncio.run(ingress(probe, ask).influence(Rows(rows=[ROWS[0], mute, ROWS[1], half, ROWS[2]])))
    assert [row["id"] for row in answer["rows"]] == [ROWS[0]["id"], "mute", ROWS[1]["id"], "rows[3]", ROWS[2]["id"]]
    assert [row.get("dropped") for row in answer["rows"]] == [None, "empty", None, "not a row", None]
    assert (answer["student"], answer["reference_rows"]) == ("of the student", 4)
    assert answer["rows"][0] == {
        "id": ROWS[0]["id"], "method": "exact", "influence": 1.0, "before": 3.0, "after": 1.0, "null_step": 2.0,
        "noise": 0.1, "own_loss": 4.0,
    }  # fmt: skip


def test_a_row_that_the_template_refuses_costs_no_other(probe: ServedProbe) -> None:
    async def ask(request: InfluenceRequest) -> Influence:
        return found(request)

    def refuse(row: Conversation) -> TrainExample | Dropped:
        if row.id == ROWS[0]["id"]:
            raise UserError("the chat template refuses this conversation")
        return probe.encode(row)

    mine = ServedProbe(probe.config, probe.student, probe.reference, refuse)  # type: ignore[arg-type]
    answer = asyncio.run(ingress(mine, ask).influence(Rows(rows=ROWS[:2])))
    assert [row.get("dropped") for row in answer["rows"]] == ["not rendered", None]


def test_a_method_that_needs_whole_matrices_is_refused_of_several_processes(probe: ServedProbe) -> None:
    async def ask(request: InfluenceRequest) -> Influence:
        return found(request)

    spread = replace(probe, config=probe.config.model_copy(update={"shards": 2}))
    with pytest.raises(HTTPException, match="use first_order") as told:
        asyncio.run(ingress(spread, ask).influence(Rows(rows=ROWS[:1], method="sampled")))
    assert told.value.status_code == 400
    assert asyncio.run(ingress(spread, ask).influence(Rows(rows=ROWS[:1], method="exact")))["rows"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RayTaskError("f", "", BaselineMoved("it was 1 and is 2"), ip="here").as_instanceof_cause(), "was 1 and is 2"),
        (RayServeException("it failed to deploy"), "it failed to deploy"),
    ],
)
def test_where_nothing_can_be_measured_that_is_said(probe: ServedProbe, error: Exception, words: str) -> None:
    async def ask(request: InfluenceRequest) -> Influence:
        raise error

    with pytest.raises(HTTPException, match=words) as told:
        asyncio.run(ingress(probe, ask).influence(Row(**ROWS[0])))
    assert told.value.status_code == 503


def test_a_row_that_kills_its_replica_is_dropped_and_its_neighbours_are_not(
    probe: ServedProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(influence, "PAUSES_S", (0.0, 0.0, 0.0))
    deaths, tries = 0, Counter[str]()

    async def ask(request: InfluenceRequest) -> Influence:
        nonlocal deaths
        tries[request.id] += 1
        alive = deaths
        await asyncio.sleep(0.01)
        deaths += request.id == "poison"
        if deaths > alive:
            raise RayActorError
        return found(request)

    async def everything() -> list[Influence | Dropped]:
        persistent = Persistent(ask)
        return await asyncio.gather(*(persistent.influence(a_request(probe, n)) for n in ("poison", "a", "b", "c")))

    poison, *others = asyncio.run(everything())
    assert isinstance(poison, Dropped)
    assert (poison.reason, poison.detail) == ("killed its engine", "4 probes died while they had it")
    assert all(isinstance(other, Influence) for other in others)
    assert tries == {"poison": 4, "a": 2, "b": 2, "c": 2}


def test_a_replica_whose_weights_moved_answers_no_more(probe: ServedProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    faults: Iterator[Exception | None] = iter([None, Unfit("too long", "9 tokens"), BaselineMoved("another"), None])

    class Faulty:
        def __init__(self, job: Any) -> None:
            pass

        async def influence(self, request: InfluenceRequest) -> Influence:
            if fault := next(faults):
                raise fault
            return found(request)

    monkeypatch.setattr(influence, "Prober", Faulty)

    async def everything() -> None:
        replica, request = Replica(None), a_request(probe)  # type: ignore[arg-type]
        assert await replica.influence(request) == found(request)
        dropped = await replica.influence(request)
        assert isinstance(dropped, Dropped)
        assert (dropped.reason, dropped.detail) == ("too long", "9 tokens")
        await replica.check_health()
        for call in (lambda: replica.influence(request), lambda: replica.influence(request), replica.check_health):
            with pytest.raises(BaselineMoved, match="another"):
                await call()

    asyncio.run(everything())


# On a cluster.

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def url(probe: ServedProbe) -> Iterator[str]:
    with session() as live, held_port(None) as port:
        endpoints = Endpoints(live, port)
        yield influence.up(endpoints, probe)
        endpoints.close()


def post(url: str, body: Any) -> Any:
    with httpx2.Client(timeout=120) as client:
        return client.post(url, content=body if isinstance(body, str) else json.dumps(body), headers=JSON)


def cpu_s(pid: int) -> float:
    """What a process has computed so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.engine
@pytest.mark.parametrize("method", ["exact", "first_order"])
def test_served_figures_are_a_local_probes(url: str, local: Local, method: str) -> None:
    told = post(url, {"rows": ROWS, "method": method}).json()
    assert (told["student"], told["reference_rows"]) == ("of the student", 4)
    assert_told(told["rows"], ROWS, local, method)
    assert max(abs(row["influence"]) for row in told["rows"]) > 1e-3
    bare = post(url, {**ROWS[3], "method": method}).json()
    assert_told([bare], [ROWS[3]], local, method)


@pytest.mark.engine
def test_the_recipes_method_is_taken_where_none_is_named(url: str) -> None:
    assert post(url, HELLO_PROBE).json()["method"] == "exact"


@pytest.mark.engine
def test_a_row_that_does_not_fit_is_dropped_with_its_reason(url: str, local: Local) -> None:
    answer = post(url, {"rows": [*(row for row, _ in BAD_ROWS), ROWS[0]]})
    *dropped, last = answer.json()["rows"]
    assert answer.status_code == 200
    assert [(row["id"], row["dropped"]) for row in dropped] == [expected for _, expected in BAD_ROWS]
    assert all(row["detail"] for row in dropped)
    assert_told([last], [ROWS[0]], local, "exact")
    assert post(url, BAD_ROWS[2][0]).json()["dropped"] == "not a row"


@pytest.mark.engine
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{no JSON", "not JSON"),
        ([], "not a JSON object"),
        ({}, "instruction: Field required; body.row.response: Field required"),
        ({"rows": []}, "rows: List should have at least 1 item"),
        ({"rows": ROWS * 200}, "rows: List should have at most 1024 items"),
        ({"rows": ["secret"]}, "rows.0: Input should be a valid dictionary"),
        ({"rows": ROWS, "limit": "secret"}, "limit: Extra inputs"),
        ({**ROWS[0], "method": "secret"}, "method: Input should be 'exact', 'first_order' or 'sampled'"),
        ({**ROWS[0], "output": "secret"}, "output: Extra inputs"),
    ],
)
def test_a_bad_request_is_refused_in_words_without_its_values(url: str, body: Any, words: str) -> None:
    refused = post(url, body)
    assert refused.status_code == 400
    assert words in refused.json()["error"]["message"]
    assert "secret" not in refused.text


@pytest.mark.engine
def test_replicas_share_rows_and_agree(url: str, local: Local) -> None:
    asked = ROWS * 6
    pids = actors.pids(":Replica")
    assert len(pids) == 2
    before = [cpu_s(pid) for pid in pids]
    told = post(url, {"rows": asked}).json()["rows"]
    one, other = (cpu_s(pid) - began for pid, began in zip(pids, before, strict=True))
    assert min(one, other) > 0.25 * (one + other)
    assert_told(told, asked, local, "exact")


@pytest.mark.engine
def test_a_replica_that_dies_in_mid_probe_loses_no_row(url: str, local: Local) -> None:
    asked = [{**row, "id": str(n)} for n, row in enumerate(ROWS * 12)]
    victim = actors.pids(":Replica")[0]
    began = cpu_s(victim)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(post, url, {"rows": asked})
        while cpu_s(victim) < began + 0.2:
            assert not answer.done()
            time.sleep(0.02)
        os.kill(victim, signal.SIGKILL)
        told = answer.result(timeout=120)
    assert told.status_code == 200
    assert_told(told.json()["rows"], asked, local, "exact")
