"""A probe as a Serve application: how much would each of these rows help the student?

Knows what is asked over HTTP, in rows of {instruction, response}, and what becomes of a row whose replica died. Does
not know how an influence is measured (`pipelines.influence`), nor how many replicas there are: Serve starts and ends
them by what waits, and gives each row to one that has few.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import HTTPException
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
from ray import serve
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.serve.exceptions import RayServeException

from cluster.session import Session
from pipelines.core.config import Probing
from pipelines.core.errors import UserError
from pipelines.core.records import Dropped, Influence, InfluenceMethod, TrainExample
from pipelines.core.stage import Done
from pipelines.generate.teacher import KilledEngine, TeacherGone
from pipelines.influence import given_rows
from pipelines.influence.encoder import Encoder
from pipelines.influence.job import ProbeJob
from pipelines.influence.prober import Prober
from pipelines.influence.stage import identity, resources
from pipelines.influence.work import STAGE, InfluenceRequest, Unfit, influence_request
from serving.door import Door
from serving.endpoints import Endpoints
from serving.front import behind_gate

MOST_ROWS = 1024  # of one request
ROWS_PER_REPLICA = 2.0  # more of them, under way or waiting, are reason for one replica more
REQUESTS_AT_ONCE = 64
PAUSES_S = (0.0, 1.0, 5.0, 20.0)  # before a row whose replica died is asked again
POSTS = {"/v1/influence": "influence"}

Ask = Callable[[InfluenceRequest], Awaitable[Influence | Dropped]]


@dataclass(frozen=True)
class ServedProbe:
    """One student and one reference set, which are finished stages, and how a row becomes an example."""

    config: Probing
    student: Done
    reference: Done
    encode: Encoder

    @property
    def meaning(self) -> list[Any]:
        """All that its answers depend on, and how many replicas give them."""
        digests = [done.manifest["digest"] for done in (self.student, self.reference)]
        return [*digests, self.config.model_dump(mode="json"), self.encode.tokenizer.template, self.encode.max_length]


def up(endpoints: Endpoints, probe: ServedProbe) -> str:
    """Serve it alone, ready to be asked; returns where rows are sent to."""
    base_url = endpoints.up_alone(probe.meaning, lambda: application(probe, endpoints.session, endpoints.door))
    return f"{base_url}/influence"


class Row(BaseModel):
    """One row, bare. What should be a text and is none costs the row, not the request."""

    model_config = ConfigDict(extra="forbid")

    instruction: Any
    response: Any
    input: Any = ""
    id: Any = None
    method: InfluenceMethod | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [self.model_dump(exclude={"method"})]


class Rows(BaseModel):
    """Many of them, as objects; the method is the recipe's where none is named."""

    model_config = ConfigDict(extra="forbid")

    rows: list[dict[str, Any]] = Field(min_length=1, max_length=MOST_ROWS)
    method: InfluenceMethod | None = None


def _form(body: Any) -> str:
    return "rows" if isinstance(body, dict) and "rows" in body else "row"


Asked = Annotated[Annotated[Row, Tag("row")] | Annotated[Rows, Tag("rows")], Discriminator(_form)]


class Replica:
    """One prober. What no step can be made of is told, not raised: Ray would wrap an exception in one of its own."""

    def __init__(self, job: ProbeJob) -> None:
        self._prober = Prober(job)
        self._moved = ""

    async def influence(self, request: InfluenceRequest) -> Influence | Dropped:
        """Raises BaselineMoved from the first time on that the prober does."""
        from pipelines.influence.probe import BaselineMoved

        await self.check_health()
        try:
            return await self._prober.influence(request)
        except Unfit as error:
            return Dropped(request.example.id, STAGE, error.reason, "", str(error))
        except BaselineMoved as error:
            self._moved = str(error)
            raise
        except TeacherGone as error:
            print(f"this replica ends itself: {error}", file=sys.stderr, flush=True)
            os._exit(1)  # Serve puts another in its place, and who asked asks again

    async def check_health(self) -> None:
        """Serve asks for it, and puts another in the place of a replica that raises."""
        from pipelines.influence.probe import BaselineMoved

        if self._moved:
            raise BaselineMoved(self._moved)


class Persistent:
    """Asks for a row until it is answered, also where replicas die meanwhile.

    What was under way in a death is asked again one row at a time, so that a row which kills its replica takes no other
    such row with it. After as many deaths as there are tries it is dropped, and its neighbours are not.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask, self._one_suspect = ask, asyncio.Lock()

    async def influence(self, request: InfluenceRequest) -> Influence | Dropped:
        death = suppress(RayActorError, OutOfMemoryError)  # the latter is of an actor that Ray killed for its memory
        with death:
            return await self._ask(request)
        async with self._one_suspect:
            for pause_s in PAUSES_S:
                await asyncio.sleep(pause_s)
                with death:
                    return await self._ask(request)
        detail = f"{1 + len(PAUSES_S)} probes died while they had it"
        return Dropped(request.example.id, STAGE, KilledEngine.reason, "", detail)


class Ingress:
    """Reads rows, hands each to a replica, and answers in the rows' order."""

    def __init__(self, replicas: Any, probe: ServedProbe) -> None:
        self._probe, self._digest = probe, identity(probe.config, probe.student, probe.reference).digest
        self._replicas = Persistent(replicas.influence.remote)

    async def influence(self, asked: Asked) -> dict[str, Any]:
        """What a batch's rows are told, with what they were measured by; of a bare row what it is told."""
        method = asked.method or self._probe.config.method
        try:
            self._probe.config.check(method)
        except ValueError as error:
            raise HTTPException(400, f"method: {error}") from error
        rows = await asyncio.to_thread(lambda: [self._read(n, row) for n, row in enumerate(asked.rows)])
        try:
            told = await asyncio.gather(*(self._told(row, method) for row in rows))
        except RayTaskError as error:
            raise HTTPException(503, f"the probe cannot go on: {error.cause}") from error
        except RayServeException as error:
            raise HTTPException(503, f"there is no probe to ask: {error}") from error
        if isinstance(asked, Row):
            return told[0]
        student, reference = self._probe.student.manifest, self._probe.reference.manifest
        return {"rows": told, "student": student["digest"], "reference_rows": reference["rows"]}

    def _read(self, n: int, row: dict[str, Any]) -> TrainExample | Dropped:
        where = f"rows[{n}]"
        try:
            return given_rows.of_row(row, where, self._probe.encode)
        except UserError as error:  # the chat template refuses it
            return Dropped(str(row.get("id") or where), given_rows.STAGE, "not rendered", "", str(error))

    async def _told(self, row: TrainExample | Dropped, method: InfluenceMethod) -> dict[str, Any]:
        if isinstance(row, Dropped):
            return told_of(row.id, row)
        return told_of(row.answer_id, await self._replicas.influence(influence_request(self._digest, row, method)))


def told_of(name: str, found: Influence | Dropped) -> dict[str, Any]:
    """A row's answer; `name` is what its sender calls it."""
    if isinstance(found, Dropped):
        return {"id": name, "dropped": found.reason, "detail": found.detail}
    return {"id": name, **{key: value for key, value in asdict(found).items() if key not in ("id", "row_id")}}


# Not as a decorator: Serve pickles the class on the spot, which has to find all that it refers to.
_REPLICA = serve.deployment(Replica)


def application(probe: ServedProbe, session: Session, door: Door) -> Any:
    """The probe behind an ingress that holds no weights, to be run by Serve."""
    config = probe.config
    session = session.of("probe")
    student, reference = probe.student.folder, probe.reference.folder
    job = ProbeJob(student, reference, config, session.threads, session.bundle, session.strategy)
    replicas = _REPLICA.options(
        ray_actor_options=resources(config, session),
        max_ongoing_requests=2 * config.check_every,  # a handful that is measured, and the next one
        autoscaling_config={
            "min_replicas": config.pool.min,
            "max_replicas": config.pool.max,
            "target_ongoing_requests": ROWS_PER_REPLICA,
        },
    ).bind(job)
    light = {"num_cpus": 0.1, "runtime_env": {"env_vars": {"TOKENIZERS_PARALLELISM": "false"}}}
    ingress = behind_gate(Ingress, POSTS, door)
    return ingress.options(ray_actor_options=light, max_ongoing_requests=REQUESTS_AT_ONCE).bind(replicas, probe)
