"""How what is served says no: a status, and words for a person in the shape of OpenAI's errors.

Knows FastAPI's errors. Does not know what an application asks for. A refusal never repeats what was sent.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refused(Exception):
    """A request that is answered with these words, and goes no further."""

    def __init__(self, status: int, words: str, code: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(words)
        self.status, self.code, self.headers = status, code, headers


def refusal(status: int, words: str, code: str | None = None, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer."""
    return JSONResponse(error_of(status, words, code), status, headers)


def error_of(status: int, words: str, code: str | None) -> dict[str, Any]:
    """Its body."""
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": words, "type": kind, "param": None, "code": code}}


def worded() -> FastAPI:
    """An application without any route yet, nor pages about its routes."""
    return FastAPI(
        openapi_url=None,
        exception_handlers={
            Refused: _of_refused,
            RequestValidationError: _of_fields,
            HTTPException: _of_http,
            Exception: _of_ours,
        },
    )


async def _of_refused(_: Request, error: Refused) -> JSONResponse:
    return refusal(error.status, str(error), error.code, error.headers)


async def _of_fields(_: Request, error: RequestValidationError) -> JSONResponse:
    """What is wrong with a request's fields, without repeating their values."""
    wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return refusal(400, "; ".join(wrong))


async def _of_http(_: Request, error: HTTPException) -> JSONResponse:
    return refusal(error.status_code, error.detail, headers=error.headers)


async def _of_ours(_: Request, error: Exception) -> JSONResponse:
    """A failure of the server's, whose words are for its log."""
    return refusal(500, "the server failed at this request; its log says why")
