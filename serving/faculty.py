"""Where teachers run: the warm served engine for rounds and small stages, the actor pool for bulk.

Knows the recipe's teachers, and starts Ray, endpoints and pools only when a stage first asks. Does not know
what the stages do.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from cluster import engines
from cluster.models import Model, resolve
from cluster.session import Session, session
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import FakeTeacher as FakeSpec
from pipelines.core.config import VLLMTeacher
from pipelines.core.progress import Progress
from pipelines.core.recipe import Recipe
from pipelines.core.records import SoftTargets
from pipelines.generate.fake import FakeTeacher
from pipelines.generate.patience import Patient
from pipelines.generate.pool import MakeTeacher, run_here, run_on_pool
from pipelines.generate.teacher import Teacher, TeacherId
from pipelines.generate.work import ShardRun
from serving.client import ServedModel
from serving.endpoints import DEFAULT_PORT, Endpoints, Served


@dataclass
class ClusterFaculty:
    """The recipe's teachers on one cluster (see teacher.Faculty). Nothing starts before it is needed."""

    recipe: Recipe
    address: str | None = None
    port: int = DEFAULT_PORT
    say: Any = print
    _stack: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def session(self) -> Session:
        """The Ray session, started or joined on first use."""
        live = self._stack.enter_context(session(self.address))
        self.say(f"  Ray is up; engine logs: {live.logs}")
        return live

    @cached_property
    def endpoints(self) -> Endpoints:
        endpoints = Endpoints(self.session, self.port)
        self._stack.callback(endpoints.close)
        return endpoints

    def close(self) -> None:
        """Stop what was started here."""
        self._stack.close()

    def model(self, name: str) -> Model:
        return resolve(self.recipe.teachers[name].model, f"teachers.{name}.model")

    def identity(self, name: str) -> TeacherId:
        spec, model = self.recipe.teachers[name], self.model(name)
        return TeacherId(name, f"fake-{model.digest}" if isinstance(spec, FakeSpec) else model.digest)

    def tokenizer(self, name: str) -> ChatTokenizer:
        return ChatTokenizer(str(self.model(name).folder()))

    @asynccontextmanager
    async def warm(self, name: str) -> AsyncIterator[Teacher]:
        spec = self.recipe.teachers[name]
        if isinstance(spec, FakeSpec):
            yield Patient(self._fake(name, spec), spec.watchdog_s)
            return
        # In this thread on purpose: a local Ray dies with the thread that started it, not with the process.
        base_url = self.serve_teacher(name)
        client = ServedModel(base_url, name, self.tokenizer(name), self.identity(name).digest)
        try:
            yield Patient(client, spec.watchdog_s)
        finally:
            await client.close()

    def serve_teacher(self, name: str) -> str:
        """Base URL of the teacher's endpoint, started on first use and kept warm until `close`."""
        return self.endpoints.up([self.served(name)])

    def served(self, name: str) -> Served:
        """The teacher as an endpoint would hold it."""
        spec, model = self.recipe.teachers[name], self.model(name)
        assert isinstance(spec, VLLMTeacher), f"{name} is a fake teacher; it has no endpoint"
        return Served(name, model.folder(), model.digest, spec.engine)

    def over_shards(self, name: str, run: ShardRun, requests: int, progress: Progress) -> float:
        spec = self.recipe.teachers[name]
        if self._is_bulk(spec, run, requests):
            resources = self._resources(name)
            return run_on_pool(run, self._maker(name), spec.pool, resources, progress, spec.watchdog_s)
        return asyncio.run(self._on_warm(name, run, progress))

    async def _on_warm(self, name: str, run: ShardRun, progress: Progress) -> float:
        began = time.monotonic()
        async with self.warm(name) as teacher:
            start_up = time.monotonic() - began
            progress.ready()
            await run_here(run, teacher, progress)
        return start_up

    def _is_bulk(self, spec: VLLMTeacher | FakeSpec, run: ShardRun, requests: int) -> bool:
        """Many requests, or scoring: over HTTP every candidate becomes JSON, at a third of the pool's speed."""
        scoring = run.work.bought is SoftTargets and isinstance(spec, VLLMTeacher)
        return scoring or requests >= spec.bulk_from

    def _maker(self, name: str) -> MakeTeacher:
        """How an actor makes this teacher; it must pickle."""
        spec = self.recipe.teachers[name]
        if isinstance(spec, FakeSpec):
            return partial(FakeTeacher, self.identity(name).digest, self.tokenizer(name), spec.latency_s)
        setup = engines.setup(self.model(name).folder(), spec.engine, self.session)
        return partial(_make_vllm, self.identity(name).digest, self.tokenizer(name), setup.args)

    def _resources(self, name: str) -> dict[str, Any]:
        spec = self.recipe.teachers[name]
        if isinstance(spec, FakeSpec):
            assert self.session is not None  # Ray must be up before Ray Data is used
            return {"num_cpus": 0.1}
        setup = engines.setup(self.model(name).folder(), spec.engine, self.session)
        gpus = {"num_gpus": setup.num_gpus} if setup.num_gpus else {}
        return {"num_cpus": setup.num_cpus, **gpus, "runtime_env": {"env_vars": setup.env}}

    def _fake(self, name: str, spec: FakeSpec) -> FakeTeacher:
        return FakeTeacher(self.identity(name).digest, self.tokenizer(name), spec.latency_s)


def _make_vllm(digest: str, tokenizer: ChatTokenizer, args: dict[str, Any]) -> Teacher:
    from pipelines.generate.vllm_teacher import VLLMTeacher as Engine

    return Engine(digest, tokenizer, args)
