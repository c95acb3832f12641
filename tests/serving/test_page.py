"""The page's files and its rows over HTTP: what needs a key, what does not, and what cannot be had at all."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from page_server import Models, PageServer, one
from ray import cloudpickle
from ray.serve._private.utils import ensure_serialization_context

from pipelines.core.storage import Folder
from serving import keys
from serving.door import Door
from serving.front import front
from serving.shown import MOST_AT_ONCE, RowsFile, Shown, ShownAnswer, ShownJudgement, ShownReply, kept
from serving.site import ANSWERS, FILES, OPEN_PATHS, Site

REPLY = ShownReply("small first", "big is better", "It is ΣΙΣΥΦΟΣ.")
ROWS = [
    Shown(f"id{n}", "even" if n % 2 == 0 else "odd", f"Say {n}.", "", (ShownAnswer("small", f"said {n}", ()),))
    for n in range(5)
] + [Shown("id5", "", "Judged.", "", (), (ShownJudgement("small", "big", "loss", (REPLY,)),))]


@pytest.fixture
def rows(tmp_path: Path) -> RowsFile:
    return kept(Folder(str(tmp_path / "run")), ROWS, "Some rows.")


@pytest.fixture
def serve(rows: RowsFile) -> Iterator[Callable[..., httpx2.Client]]:
    """A client of the page's server behind this door."""
    open_ones: list[Any] = []

    def make(door: Door | None = None) -> httpx2.Client:
        server = PageServer(Models({"small": [one("Hi")]}), door, rows)
        client = httpx2.Client(base_url=server.url)
        open_ones.extend((client, server))
        return client

    yield make
    for each in open_ones:
        each.close()


def test_the_page_needs_no_key_and_everything_else_does(serve: Callable[..., httpx2.Client], tmp_path: Path) -> None:
    key = keys.create(tmp_path / "keys.json", "ann")
    client = serve(Door(keys=tmp_path / "keys.json"))
    assert {client.get(path).status_code for path in OPEN_PATHS} == {200}
    for path in (ANSWERS, "/v1/models", "/page", "/page/", "/page/site.py", "/page/../v1/models", "/index.html"):
        assert client.get(path).status_code == 401, path
    assert client.get(ANSWERS, headers={"Authorization": f"Bearer {key}"}).json()["total"] == len(ROWS)


def test_the_page_may_run_its_own_scripts_only_and_stands_in_no_frame(serve: Callable[..., httpx2.Client]) -> None:
    client = serve()
    for path in OPEN_PATHS:
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    types = {client.get(path).headers["content-type"].partition(";")[0] for path in OPEN_PATHS}
    assert types == {"text/html", "text/css", "text/javascript", "image/svg+xml"}


@pytest.mark.parametrize(
    "name", ["site.py", "..%2Fsite.py", "%2e%2e%2fsite.py", "..%5csite.py", "%2Fetc%2Fpasswd", "page.css%00", "nothing"]
)
def test_no_path_leads_out_of_the_page(serve: Callable[..., httpx2.Client], name: str) -> None:
    refused = serve().get(f"/page/{name}")
    assert refused.status_code == 404
    assert "RowsFile" not in refused.text


def test_without_keys_a_strange_name_gets_the_page_and_no_data(serve: Callable[..., httpx2.Client]) -> None:
    client, strange = serve(), {"Host": "evil.example"}
    assert client.get("/", headers=strange).status_code == 200
    assert client.get(ANSWERS, headers=strange).status_code == 403
    assert client.get(ANSWERS).status_code == 200


def test_the_files_name_each_other_and_hold_no_inline_script_or_style() -> None:
    index = FILES["index.html"].decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=", index)
    named = set(re.findall(r'(?:src|href)="page/([^"]+)"', index))
    modules = {name: text.decode() for name, text in FILES.items() if name.endswith(".js")}
    named |= {name for text in modules.values() for name in re.findall(r'from "\./([^"]+)"', text)}
    assert named | {"index.html"} == set(FILES)
    assert not [name for name, text in modules.items() if re.search(r"innerHTML|insertAdjacent|eval\(", text)]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, ["id0", "id1", "id2", "id3", "id4", "id5"]),
        ({"offset": 1, "limit": 2}, ["id1", "id2"]),
        ({"offset": 9}, []),
        ({"category": "odd"}, ["id1", "id3"]),
        ({"q": "SAID 3"}, ["id3"]),
        ({"q": "say", "category": "even", "offset": 1}, ["id2", "id4"]),
        ({"q": "σισυφοσ"}, ["id5"]),
        ({"category": "none"}, []),
    ],
)
def test_rows_are_filtered_and_cut(serve: Callable[..., httpx2.Client], query: dict[str, Any], ids: list[str]) -> None:
    slice = serve().get(ANSWERS, params=query).json()
    assert [row["id"] for row in slice["rows"]] == ids
    assert (slice["about"], slice["categories"]) == ("Some rows.", ["even", "odd"])


def test_what_is_asked_wrongly_is_refused_in_words(serve: Callable[..., httpx2.Client]) -> None:
    client = serve()
    for query, field in (({"limit": 0}, "limit"), ({"limit": MOST_AT_ONCE + 1}, "limit"), ({"offset": -1}, "offset")):
        refused = client.get(ANSWERS, params=query)
        assert refused.status_code == 400
        assert field in refused.json()["error"]["message"]


def test_a_judgement_comes_back_as_it_was_kept(rows: RowsFile) -> None:
    assert rows.rows == tuple(ROWS)
    assert rows.page(q="judged").rows == [ROWS[5]]


def test_rows_are_written_once_under_the_name_of_their_content(rows: RowsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Folder, "write_bytes", lambda *_: pytest.fail("it is there"))
    assert kept(rows.folder, ROWS, "Others.").name == rows.name
    monkeypatch.undo()
    assert kept(rows.folder, ROWS[1:], "Some rows.").name != rows.name


def test_the_application_travels_to_where_it_is_served_without_the_rows(rows: RowsFile) -> None:
    """Serve pickles it."""
    ensure_serialization_context()
    packed = cloudpickle.dumps(front(Door(), ["small"], Site(rows)))
    assert b"said 3" not in packed
    there = cloudpickle.loads(packed)
    assert {"/", "/page/{name}", ANSWERS} <= {route.path for route in there.routes}
    without = {route.path for route in front(Door(), ["small"]).routes}
    assert without == {"/health", "/ready"}
