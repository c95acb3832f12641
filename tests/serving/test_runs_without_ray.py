"""Whole runs whose teachers are an API and a record: what is kept, dropped, asked again and paid. No Ray starts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, Asked, Wire, says

from cluster.engines import setup
from cluster.session import Session
from pipelines.core.config import Engine
from pipelines.core.errors import UserError
from pipelines.core.parts import dropped_of, rows_of
from pipelines.core.progress import Progress
from pipelines.core.recipe import recipe_of
from pipelines.core.records import Answer, Completion
from pipelines.core.storage import Folder
from pipelines.report.data import to_json
from pipelines.report.markdown import markdown
from pipelines.report.page import html
from pipelines.runs import api, reporting
from serving import api as client

KEY = "sk-secret-0123456789"
TASKS = [f"Name {n} rivers of the {side}." for n in range(20) for side in ("north", "south")]
REFUSED = TASKS[7]
MakeRecipe = Callable[..., Any]


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("serving.faculty.session", refuse)
    monkeypatch.setattr(client, "FIRST_WAIT_S", 0.001)
    monkeypatch.setenv("BIG_KEY", KEY)


@pytest.fixture
def big(server: ApiServer) -> dict[str, Any]:
    """A teacher behind the server."""
    price = {"prompt_per_million": 1000.0, "output_per_million": 2000.0}
    return {
        "kind": "http", "base_url": server.url, "model": "big-1", "api_key_env": "BIG_KEY", "at_once": 4,
        "retries": 1, "timeout_s": 5, "price": price,
    }  # fmt: skip


@pytest.fixture
def make_recipe(tmp_path: Path) -> MakeRecipe:
    """A recipe that has given tasks answered by teacher `main`."""

    def make(main: dict[str, Any], **more: Any) -> Any:
        tasks = tmp_path / "tasks.jsonl"
        tasks.write_text("".join(json.dumps({"instruction": t, "instances": []}) + "\n" for t in TASKS))
        return recipe_of({
            "name": "small", "method": "generate", "teachers": {"main": main}, "seeds": {"tasks": str(tasks)},
            "instructions": {"kind": "given"}, "answers": {"teacher": "main"}, **more,
        })  # fmt: skip

    return make


def run(recipe: Any, runs: Folder, quiet: Progress) -> tuple[api.Ran, dict[str, Answer], dict[str, str]]:
    """The run, its answers by prompt, and why others were dropped."""
    ran = api.run(recipe, runs.uri, progress=quiet)
    (folder,) = (f.done.folder for f in ran.stages if f.stage.name == "answers")
    return ran, {a.prompt: a for a in rows_of(folder, Answer)}, {d.text: d.detail for d in dropped_of(folder)}


def prompts(asked: list[Asked]) -> list[str]:
    """What was asked for rows: not the greeting."""
    return sorted(a.prompt for a in asked if a.prompt in TASKS)


def test_a_run_that_lost_its_key_goes_on_and_asks_only_for_what_is_missing(
    server: ApiServer, big: dict[str, Any], make_recipe: MakeRecipe, runs: Folder, quiet: Progress
) -> None:
    def expires(asked: Asked) -> Wire:
        if len(server.asked) > 15:
            return Wire(401, f"{KEY} has expired".encode())
        return answers(asked)

    def answers(asked: Asked) -> Wire:
        if asked.prompt == REFUSED:
            return Wire(400, b"not about rivers")
        return says("The Ob.", "content_filter" if asked.prompt == TASKS[0] else "stop")

    server.behave = expires
    with pytest.raises(UserError, match=r"401: \[key\] has expired"):
        run(make_recipe(big), runs, quiet)
    (book,) = (name for name in runs.folders() if name.startswith("replies-"))
    said_before = [c for part in runs.child(book).files() for c in runs.child(book).read_records(part, Completion)]
    kept = [c.prompt for c in said_before]
    assert len(kept) >= 10

    server.asked.clear()
    server.behave = answers
    _, said, dropped = run(make_recipe(big), runs, quiet)
    assert prompts(server.asked) == sorted(set(TASKS) - set(kept))
    assert said.keys() == set(TASKS) - {REFUSED}
    assert said[TASKS[0]].finish_reason == "content_filter"
    assert dropped == {REFUSED: "400: not about rivers"}

    server.asked.clear()
    run(make_recipe(big), runs, quiet)
    assert server.asked == []
    written = [path.read_bytes() for path in Path(runs.uri).rglob("*") if path.is_file()]
    assert len(written) > 5
    assert not any(KEY.encode() in each for each in written)


def test_the_report_tells_what_a_kept_row_took(
    server: ApiServer, big: dict[str, Any], make_recipe: MakeRecipe, runs: Folder, quiet: Progress
) -> None:
    troubled = {TASKS[3], TASKS[30]}

    def behave(asked: Asked) -> Wire:
        if asked.prompt in troubled:
            troubled.remove(asked.prompt)
            return Wire(500)
        return says("The Ob." if asked.prompt in TASKS else "Hello.")

    server.behave = behave
    recipe = make_recipe(big)
    ran, said, dropped = run(recipe, runs, quiet)
    assert (len(said), dropped) == (40, {})
    report = reporting.of_run(recipe, ran.run_folder, [f.stage for f in ran.stages])
    (row,) = report.teachers
    assert (row.teacher, row.stage, row.kept, row.retries) == ("main", "answers", 40, 2)
    assert (row.prompt_tokens, row.output_tokens, row.tokens_per_row) == (280, 80, 9)
    assert (row.cost, row.cost_per_row) == (pytest.approx(0.44), pytest.approx(0.011))
    assert row.request_seconds > 0
    assert row.seconds_per_row == pytest.approx(row.request_seconds / 40)
    assert to_json(report)["teachers"][0]["cost_per_row"] == pytest.approx(0.011)
    for page in (markdown(report), html(report)):
        assert "0.011" in page


def test_instructions_and_answers_of_different_teachers(
    server: ApiServer, big: dict[str, Any], make_recipe: MakeRecipe, runs: Folder, quiet: Progress, tmp_path: Path
) -> None:
    record = tmp_path / "said.jsonl"
    record.write_text("".join(json.dumps({"prompt": t, "text": f"On {t}"}) + "\n" for t in TASKS[:-3]))
    server.behave = lambda asked: says(f"<instruction>Plan walk {len(server.asked)} to lake {id(asked)}</instruction>")
    recipe = make_recipe(
        {"kind": "recorded", "files": [str(record)]},
        teachers={"main": {"kind": "recorded", "files": [str(record)]}, "big": big},
        instructions={"teacher": "big", "prompt": "tagged", "target": 2, "requests_per_round": 2, "max_rouge_l": 1.0},
    )
    ran, said, dropped = run(recipe, runs, quiet)
    assert said.keys() == set(TASKS[:-3])
    assert len(dropped) == 3 + 2  # the unrecorded tasks, and the new ones
    assert set(dropped.values()) == {"not recorded"}
    asked_of = {f.stage.name: f.done.manifest["facts"].get("teacher") for f in ran.stages}
    assert asked_of == {"seeds": None, "instructions": "big", "answers": "main"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_url": "http://127.0.0.1:9/v1"}, r"teachers\.main\.base_url: .*http://127\.0\.0\.1:9/v1 .*ConnectError"),
        ({"api_key_env": "NO_SUCH_KEY"}, r"teachers\.main\.api_key_env: .*NO_SUCH_KEY is not set"),
        ({"api": "completions"}, r"answers\.teacher: what teachers\.main is asked is a user's turn"),
        ({"model": "refused"}, r"teachers\.main\.base_url: .*404: no such model"),
        ({"model": "locked"}, r"teachers\.main: .*401.*BIG_KEY"),
    ],
)
def test_what_cannot_be_reached_is_told_before_a_row_is_asked(
    server: ApiServer, big: dict[str, Any], make_recipe: MakeRecipe, runs: Folder, changes: dict[str, str], words: str
) -> None:
    refusals = {"refused": Wire(404, b"no such model"), "locked": Wire(401)}
    server.behave = lambda asked: refusals.get(asked.body["model"], says("Hello."))
    recipe = make_recipe({**big, **changes})
    with pytest.raises(UserError, match=words):
        api.check(recipe, runs.uri)
    assert prompts(server.asked) == []


def test_plan_asks_nothing_and_check_asks_once(
    server: ApiServer, big: dict[str, Any], make_recipe: MakeRecipe, runs: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(big)
    assert any("big-1" in fact for fact in api.check(recipe, runs.uri))
    assert len(server.asked) == 1
    monkeypatch.delenv("BIG_KEY")
    plan = api.plan(recipe, runs.uri)
    assert any(server.url in fact for fact in plan.facts)
    assert len(server.asked) == 1


def test_who_an_api_is_does_not_hang_on_its_key_or_its_pace(
    big: dict[str, Any], make_recipe: MakeRecipe, runs: Folder
) -> None:
    def name(**changes: Any) -> str:
        return api.plan(make_recipe({**big, **changes}), runs.uri).run_folder.name

    same = {"api_key_env": None, "requests_per_minute": 3, "at_once": 9, "retries": 0, "timeout_s": 1, "price": None}
    assert name() == name(**same)
    others = [name(), name(model="big-2"), name(base_url="http://other/v1"), name(extra_body={"top_k": 3})]
    assert len(set(others)) == 4


def test_a_key_reaches_its_api_and_no_engine(
    server: ApiServer, big: dict[str, Any], make_recipe: MakeRecipe, runs: Folder, quiet: Progress
) -> None:
    run(make_recipe(big), runs, quiet)
    assert {asked.key for asked in server.asked} == {f"Bearer {KEY}"}
    engine = setup(runs.local_path(), Engine(), Session("", runs.local_path(), 0, 1))
    assert KEY not in str(engine)
