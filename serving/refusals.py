"""How our own applications refuse what they cannot read: status 400, and words for a person.

Knows FastAPI's errors. Does not know what an application asks for.
"""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse


def worded() -> FastAPI:
    """An application without any route yet."""
    return FastAPI(exception_handlers={RequestValidationError: _in_words})


async def _in_words(_: Request, error: RequestValidationError) -> JSONResponse:
    """What is wrong with a request's fields, without repeating their values."""
    wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return JSONResponse({"detail": "; ".join(wrong)}, status_code=400)
