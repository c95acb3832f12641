"""Applications as Ray Serve gets them: with the gate before them, and words about their health.

Knows Ray Serve, the ingress of Ray Serve LLM, and the errors that the two raise. Does not know what the gate lets in.
The stock ingress has an application of its own, which lets the pages of every web site in; here it gets ours.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from ray import serve

from cluster.engines import serve_config, setup
from cluster.session import Session
from serving.asked import CHAT, COMPLETIONS
from serving.counters import Counters
from serving.door import Door
from serving.gate import OPEN_PATHS, Gate
from serving.refusals import refusal, worded
from serving.served import Served
from serving.site import OPEN_PATHS as OF_THE_SITE
from serving.site import Site

REQUESTS_AT_ONCE = 1024
GETS = {"/v1/models": "models", "/v1/models/{model:path}": "model_data"}
POSTS = {COMPLETIONS: "completions", CHAT: "chat"}


def behind_gate(cls: type, posts: Mapping[str, str], door: Door, models: Sequence[str] = ()) -> Any:
    """This class as an ingress of Serve: which of its methods (`posts`' values) answers at which path."""
    app = front(door, models)
    for path, method in posts.items():
        app.post(path)(getattr(cls, method))
    # Not as a decorator: Serve pickles the class on the spot, which has to find all that it refers to.
    return serve.deployment(serve.ingress(app)(cls))


def openai_app(models: Sequence[Served], session: Session, door: Door, site: Site | None = None) -> Any:
    """Engines of these models behind the stock ingress, and a site, to be run by Serve.

    It scales on its own terms; one small replica is enough in front of these engines, and limits are counted in one.
    """
    from ray.llm._internal.serve.core.configs.openai_api_models import to_model_metadata
    from ray.serve.llm import LLMConfig, build_llm_deployment

    from serving.engine_server import EngineServer

    engines: dict[str, Any] = {}
    cards: dict[str, Any] = {}
    for model in models:
        replica = setup(model.folder, model.engine, session.of(model.role))
        settings = serve_config(model.name, replica, model.replicas, model.adapters, model.is_chooser)
        config = LLMConfig(**settings, server_cls=EngineServer)
        engine = build_llm_deployment(config)
        # An adapter is one more name of its model's engine, which tells them apart by the name itself.
        engines |= dict.fromkeys(model.names, engine)
        cards |= {name: to_model_metadata(name, config) for name in model.names}
    ingress = serve.deployment(
        stock_ingress(door, tuple(engines), site),
        num_replicas=1,
        ray_actor_options={"num_cpus": 0.1},
        max_ongoing_requests=REQUESTS_AT_ONCE,
    )
    return ingress.bind(llm_deployments=engines, model_cards=cards)


def stock_ingress(door: Door, models: Sequence[str], site: Site | None = None) -> Any:
    """The class of Ray Serve LLM's ingress, with our application in the place of its own."""
    from ray.llm._internal.serve.core.configs.openai_api_models import OpenAIHTTPException
    from ray.serve.llm.ingress import make_fastapi_ingress
    from vllm.exceptions import VLLMClientError

    from serving.ingress import Ingress

    app = front(door, models, site)
    app.add_exception_handler(OpenAIHTTPException, _of_engine)
    app.add_exception_handler(VLLMClientError, _of_request)
    app.add_exception_handler(ValueError, _of_messages)
    routes = {method: partial(FastAPI.get, path=path) for path, method in GETS.items()}
    routes |= {method: partial(FastAPI.post, path=path) for path, method in POSTS.items()}
    return make_fastapi_ingress(Ingress, endpoint_map=routes, app=app)


def front(door: Door, models: Sequence[str], site: Site | None = None) -> FastAPI:
    """An application behind the gate that has no routes yet but those of its health, and of its site."""
    app = worded()
    open_paths = (*OPEN_PATHS, *(OF_THE_SITE if site else ()))
    app.add_middleware(Gate, door=door, models=tuple(models), observer=Counters, open_paths=open_paths)
    app.get("/health")(_health)
    app.get("/ready")(_ready)
    if site:
        site.join(app)
    return app


async def _health() -> dict[str, str]:
    return {"status": "alive"}


async def _ready() -> JSONResponse:
    """Whether all that the application consists of is there, its engines too."""
    app = serve.get_replica_context().app_name
    state = (await asyncio.to_thread(serve.status)).applications[app].status
    return JSONResponse({"status": state.lower()}, 200 if state == "RUNNING" else 503)


async def _of_engine(_: Request, error: Any) -> JSONResponse:
    """What vLLM says of a request, or of itself."""
    return refusal(error.status_code, error.message)


async def _of_request(_: Request, error: Exception) -> JSONResponse:
    """vLLM's of a field; as a text it would hold the field's value too."""
    return refusal(400, str(getattr(error, "cause", error).args[0]))


async def _of_messages(_: Request, error: Exception) -> JSONResponse:
    """The stock ingress reads a message's content late, and tells what it cannot read as a failure of its own."""
    if not isinstance(error.__cause__, ValidationError):
        raise error
    return refusal(400, "messages: a content is neither a text nor a list of content parts")
