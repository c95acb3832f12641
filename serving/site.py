"""The page at the port's own root: its files, and who may have them.

Knows the folder `page` beside it. The files hold no data, so they need no key; the rows that the page shows do, and
lie behind the gate with all else. The page runs its own scripts only, and no site can hold it in a frame.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from fastapi import FastAPI, HTTPException
from fastapi.responses import Response

from serving.shown import RowsFile

ANSWERS = "/v1/run/answers"
INDEX = "index.html"
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def _read() -> Mapping[str, bytes]:
    folder = files("serving").joinpath("page")
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in TYPES}


FILES = _read()
OPEN_PATHS = ("/", *(f"/page/{name}" for name in FILES))


@dataclass(frozen=True)
class Site:
    """What a person sees: the page, and a run's rows in it where there are any."""

    rows: RowsFile | None = None

    def join(self, app: FastAPI) -> None:
        """Answer for it at its paths."""
        app.get("/")(_index)
        app.get("/page/{name}")(_file)
        if self.rows:
            app.get(ANSWERS)(self.rows.page)


async def _index() -> Response:
    return _sent(INDEX)


async def _file(name: str) -> Response:
    if name not in FILES:
        raise HTTPException(404, "the page has no such file")
    return _sent(name)


def _sent(name: str) -> Response:
    return Response(FILES[name], media_type=TYPES[name.rpartition(".")[2]], headers=HEADERS)
