"""Where teachers run: the warm served engine for rounds and small stages, the actor pool for bulk; those behind
another's API, and records, in the driver.

Knows the recipe's teachers, and starts Ray, endpoints and pools only when a stage first asks. Does not know
what the stages do.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from cluster import demands, engines
from cluster.census import counted
from cluster.models import Model, adapted, parameter_count, resolve, resolve_tokenizer
from cluster.placement import alone, one_per_actor
from cluster.profile import Profile, RoleName
from cluster.session import Session, session
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import (
    Engine,
    GivenStudent,
    HTTPTeacher,
    LocalTeacher,
    PrunedStudent,
    RandomStudent,
    VLLMTeacher,
)
from pipelines.core.config import FakeTeacher as FakeSpec
from pipelines.core.config import RecordedTeacher as RecordedSpec
from pipelines.core.config import Teacher as Spec
from pipelines.core.hashing import key_of
from pipelines.core.progress import Progress
from pipelines.core.recipe import Recipe
from pipelines.core.records import SoftTargets
from pipelines.core.storage import Folder
from pipelines.generate import recorded
from pipelines.generate.fake import FakeTeacher
from pipelines.generate.patience import Patient
from pipelines.generate.pool import MakeTeacher, run_here, run_on_pool
from pipelines.generate.recorded import Record, RecordedTeacher
from pipelines.generate.teacher import Teacher, TeacherId
from pipelines.generate.work import ShardRun
from serving.api import Address, Api
from serving.client import HostedModel, ServedModel, address
from serving.door import Door
from serving.endpoints import DEFAULT_PORT, Endpoints, held_port
from serving.served import Served


@dataclass
class ClusterFaculty:
    """The recipe's teachers on one cluster (see generate.faculty). Nothing starts before it is needed."""

    recipe: Recipe
    address: str | None = None
    port: int = DEFAULT_PORT
    say: Any = print
    door: Door = field(default_factory=Door)
    profile: Profile | None = None
    _named: bool = False  # the port, by somebody
    _counted: tuple[Folder, Callable[[], str]] | None = None
    _stack: ExitStack = field(default_factory=ExitStack)
    _lent: dict[str, VLLMTeacher | FakeSpec] = field(default_factory=dict)
    _models: dict[str, Model] = field(default_factory=dict)

    @cached_property
    def session(self) -> Session:
        """The Ray session, started or joined on first use."""
        live = self._stack.enter_context(session(self.address, self.profile))
        self.say(f"  Ray is up; engine logs: {live.logs}")
        if self.profile is not None and self._counted is not None:
            self._stack.enter_context(counted(self.profile, *self._counted, self.say))
        return live

    @cached_property
    def endpoints(self) -> Endpoints:
        turns = self.profile is not None and demands.take_turns(self.recipe, self.profile)
        endpoints = Endpoints(self.session, self.port, self.door, turns, self._named)
        self._stack.callback(endpoints.close)
        return endpoints

    def at(self, role: RoleName) -> Session:
        """The cluster for work of this role that is about to begin. Where engines take turns, ours make way for it."""
        if "endpoints" in self.__dict__:
            self.endpoints.make_way()
        return self.session.of(role)

    def role(self, name: str) -> RoleName:
        """What a teacher does on the cluster."""
        return demands.role_of(self.recipe, name)

    def count_nodes(self, into: Folder, during: Callable[[], str]) -> None:
        """Keep in this folder how many nodes each of the profile's pools has, from when Ray is first asked for."""
        self._counted = (into, during)

    def hold_port(self, wanted: int | None) -> None:
        """Serve behind this port, or the default, or a free one; nobody else can have it until `close`.

        Where nobody wishes for one, a Serve that is up on the cluster is taken where it listens.
        """
        self.port = self._stack.enter_context(held_port(wanted, self.door.host))
        self._named = wanted is not None

    def close(self) -> None:
        """Stop what was started here."""
        self._stack.close()

    @contextmanager
    def lent(self, name: str, spec: VLLMTeacher | FakeSpec) -> Iterator[None]:
        """One teacher more than the recipe's, for a while: a model of the run's own. Its endpoint goes with it."""
        assert name not in self.recipe.teachers, f"{name} is a teacher already"
        self._lent[name] = spec
        try:
            yield
        finally:
            del self._lent[name]

    def spec(self, name: str) -> Spec:
        """A teacher's section."""
        return self._lent[name] if name in self._lent else self.recipe.teachers[name]

    def model(self, name: str) -> Model:
        """The files of a teacher's model; those of the tokenizer alone where the model is on another server."""
        spec = self.spec(name)
        if isinstance(spec, HTTPTeacher):
            assert spec.tokenizer is not None, f"the tokens of {name} are not known"
            return resolve_tokenizer(spec.tokenizer, f"teachers.{name}.tokenizer")
        assert isinstance(spec, LocalTeacher), f"{name} is a record and has no model"
        base = self._resolved(spec.model, f"teachers.{name}.model")
        adapter = spec.adapter if isinstance(spec, VLLMTeacher) else None
        return adapted(base, adapter, f"teachers.{name}.adapter") if adapter else base

    def origin(self, init: PrunedStudent | GivenStudent | RandomStudent) -> Model:
        """What a student starts from. Its tokenizer and chat template render the student's examples."""
        if isinstance(init, GivenStudent):
            return self._resolved(init.model, "student.init.model")
        return self.model(init.teacher)

    def _resolved(self, ref: str, where: str) -> Model:
        """What a reference means is looked up once: a run goes on with the model that it began with."""
        if ref not in self._models:
            self._models[ref] = resolve(ref, where)
        return self._models[ref]

    def identity(self, name: str) -> TeacherId:
        match self.spec(name):
            case HTTPTeacher() as spec:
                tokens = self.model(name).digest if spec.tokenizer else ""
                digest = key_of("http", spec.base_url, spec.model, spec.api, spec.extra_body, tokens)
            case RecordedSpec() as spec:
                digest = recorded.digest(spec.files, f"teachers.{name}.files")
            case FakeSpec():
                digest = f"fake-{self.model(name).digest}"
            case VLLMTeacher() as spec:
                digest = self.model(name).digest
                if changed := number_format(spec.engine):
                    digest = key_of("vllm", digest, changed)
        return TeacherId(name, digest)

    def parameters(self, name: str) -> int | None:
        """How many weights a teacher has; None where it is behind another's API, or is no model."""
        return parameter_count(self.model(name).folder()) if isinstance(self.spec(name), VLLMTeacher) else None

    def tokenizer(self, name: str) -> ChatTokenizer:
        return ChatTokenizer(str(self.model(name).folder()))

    @asynccontextmanager
    async def warm(self, name: str) -> AsyncIterator[Teacher]:
        match self.spec(name):
            case FakeSpec() as spec:
                yield Patient(self._fake(name, spec), spec.watchdog_s)
            case RecordedSpec():
                record = self.record(name)
                self.say(f"  teachers.{name}: {record.words()}")
                yield RecordedTeacher(self.identity(name).digest, record)
            case HTTPTeacher() as spec:
                async with Api(address(name, spec)) as api:
                    yield self.hosted(name, api)
            case VLLMTeacher() as spec:
                # In this thread on purpose: a local Ray dies with the thread that started it, not with the process.
                base_url = self.serve_teacher(name)
                try:
                    async with Api(Address(base_url, f"teachers.{name}")) as api:
                        client = ServedModel(api, name, self.tokenizer(name), self.identity(name).digest)
                        yield Patient(client, spec.watchdog_s)
                finally:
                    if name in self._lent:
                        self.endpoints.down(base_url)

    @asynccontextmanager
    async def served_model(self, name: str) -> AsyncIterator[ServedModel]:
        """A model on a vLLM server, ours or a user's: all that such a server can be asked, by whoever checks it."""
        spec = self.spec(name)
        if isinstance(spec, HTTPTeacher):
            at, model = address(name, spec), spec.model
        else:
            at, model = Address(self.serve_teacher(name), f"teachers.{name}"), name
        async with Api(at) as api:
            yield ServedModel(api, model, self.tokenizer(name), self.identity(name).digest)

    def http(self, name: str) -> HTTPTeacher:
        """How a teacher of kind http is reached."""
        spec = self.spec(name)
        assert isinstance(spec, HTTPTeacher), f"{name} is not behind an API"
        return spec

    def hosted(self, name: str, api: Api) -> HostedModel | ServedModel:
        """A teacher of kind http, asked through `api`."""
        spec, digest = self.http(name), self.identity(name).digest
        if spec.api == "vllm":
            return ServedModel(api, spec.model, self.tokenizer(name), digest, spec.extra_body)
        return HostedModel(api, spec.model, digest, chat=spec.api == "chat", extra=spec.extra_body)

    def record(self, name: str) -> Record:
        """What a teacher of kind recorded will repeat."""
        spec = self.spec(name)
        assert isinstance(spec, RecordedSpec), f"{name} is no record"
        return recorded.read(spec.files, f"teachers.{name}.files")

    def serve_teacher(self, name: str) -> str:
        """Base URL of the teacher's endpoint, started on first use and kept warm until `close`."""
        return self.endpoints.up([self.served(name)])

    def served(self, name: str) -> Served:
        """The teacher as an endpoint would hold it."""
        spec, model = self.spec(name), self.model(name)
        assert isinstance(spec, VLLMTeacher), f"{name} has no endpoint of ours"
        return Served(name, model.folder(), model.digest, spec.engine, role=self.role(name))

    def over_shards(self, name: str, run: ShardRun, requests: int, progress: Progress) -> float:
        spec = self.spec(name)
        if isinstance(spec, LocalTeacher) and self._is_bulk(spec, run, requests):
            self.at(self.role(name))  # what is served makes way
            with self._resources(name) as resources:
                return run_on_pool(run, self._maker(name), spec.pool, resources, progress, spec.watchdog_s)
        return asyncio.run(self._on_warm(name, run, progress))

    async def _on_warm(self, name: str, run: ShardRun, progress: Progress) -> float:
        began = time.monotonic()
        async with self.warm(name) as teacher:
            start_up = time.monotonic() - began
            progress.ready()
            await run_here(run, teacher, progress)
        return start_up

    def _is_bulk(self, spec: LocalTeacher, run: ShardRun, requests: int) -> bool:
        """Many requests, or scoring: over HTTP every candidate becomes JSON, at a third of the pool's speed."""
        scoring = run.work.bought is SoftTargets and isinstance(spec, VLLMTeacher)
        return scoring or requests >= spec.bulk_from

    def _maker(self, name: str) -> MakeTeacher:
        """How an actor makes this teacher; it must pickle."""
        spec = self.spec(name)
        if isinstance(spec, FakeSpec):
            return partial(FakeTeacher, self.identity(name).digest, self.tokenizer(name), spec.latency_s)
        assert isinstance(spec, VLLMTeacher), f"{name} needs no pool"
        setup = self._setup(name, spec)
        return partial(_make_vllm, self.identity(name).digest, self.model(name).from_anywhere(), setup.args)

    @contextmanager
    def _resources(self, name: str) -> Iterator[dict[str, Any]]:
        """What an actor of this teacher's pool asks of Ray, as Ray Data's arguments."""
        spec = self.spec(name)
        live = self.session.of(self.role(name))  # Ray must be up before Ray Data is used
        if isinstance(spec, FakeSpec):
            yield alone({"CPU": 0.1, **live.label})
            return
        assert isinstance(spec, VLLMTeacher), f"{name} needs no pool"
        setup = self._setup(name, spec)
        with one_per_actor(setup.bundles, setup.strategy) as resources:
            yield {**resources, "runtime_env": {"env_vars": setup.env}}

    def _setup(self, name: str, spec: VLLMTeacher) -> engines.EngineSetup:
        return engines.setup(self.model(name).folder(), spec.engine, self.session.of(self.role(name)))

    def _fake(self, name: str, spec: FakeSpec) -> FakeTeacher:
        return FakeTeacher(self.identity(name).digest, self.tokenizer(name), spec.latency_s)


def number_format(engine: Engine) -> dict[str, Any]:
    """What else than its weights changes a model's words: how its numbers are held, where that is not the default."""
    fields = engine.model_dump(mode="json", include={"dtype", "quantization"})
    return {name: value for name, value in fields.items() if value != Engine.model_fields[name].default}


def _make_vllm(digest: str, model: Model, args: dict[str, Any]) -> Teacher:
    """In an actor: the model is made ready on the actor's own node, once for all that run there."""
    from pipelines.generate.vllm_teacher import VLLMTeacher as Engine

    folder = str(model.folder())
    return Engine(digest, ChatTokenizer(folder), {**args, "model": folder})
