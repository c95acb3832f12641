"""Runs as jobs: what is sent for one and what is not, what a second one is told, and the commands. Starts no Ray."""

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboard import Dashboard, FakeJob

from cluster import baggage
from cluster.jobs import Job
from pipelines.cli import main
from pipelines.core import recipe_file
from pipelines.core.errors import UserError
from pipelines.core.recipe import AnyRecipe
from pipelines.runs import carried, submitted
from pipelines.runs.submitted import Submission

Command = Callable[..., tuple[int, str, str]]

KEY = "sk-nobody-may-read-this"
PAGE = "<!doctype html><title>ÄÖ</title>" + "<p>row</p>" * 20_000
PLACE = "/shared/runs/run-small-0123456789/report.html"


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")  # and set back after what a client makes of it
    running = Dashboard()
    yield running
    running.close()


@pytest.fixture
def tutelage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """The command in this process, which has Ray's client in memory after the first: (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tutelage", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with files that a recipe may name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tasks.jsonl").write_text('{"instruction": "List three rivers."}\n')
    (tmp_path / "mine.j2").write_text("{# form: document #}")
    (tmp_path / "own.py").write_text("def no_recipes(text): ...")
    (tmp_path / ".env").write_text(f"EXAMPLE_KEY={KEY}")
    return tmp_path


def given(data: dict[str, Any], *settings: str) -> AnyRecipe:
    Path("small.yaml").write_text(yaml.safe_dump(data))
    return recipe_file.load("small.yaml", settings)


def packed(recipe: AnyRecipe, folder: Path) -> list[str]:
    folder.mkdir()
    submitted.pack(Submission(recipe, "/shared/runs"), folder)
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def job(id: str, status: str) -> Job:
    return Job(id, status, status not in ("PENDING", "RUNNING"), 0, "", 0.0, None, {})


def test_a_recipe_goes_alone_with_its_settings_resolved(here: Path, recipe_data: dict[str, Any]) -> None:
    recipe = given(recipe_data, "instructions.target=21")
    assert packed(recipe, here / "sent") == ["recipe.yaml"]
    assert recipe_file.load(here / "sent" / "recipe.yaml") == recipe
    assert recipe.instructions.target == 21


def test_small_files_of_this_folder_go_along_under_their_names(here: Path, recipe_data: dict[str, Any]) -> None:
    files = ("seeds.tasks=data/tasks.jsonl", "instructions.prompt=./mine.j2", "instructions.filters=[own:no_recipes]")
    assert packed(given(recipe_data, *files), here / "sent") == [
        "data/tasks.jsonl", "mine.j2", "own.py", "recipe.yaml",
    ]  # fmt: skip


def test_what_is_hidden_in_a_folder_of_data_stays_here(here: Path, recipe_data: dict[str, Any]) -> None:
    (here / "data" / ".cache").mkdir()
    for name in (".env", ".cache/key"):
        (here / "data" / name).write_text(KEY)
    assert packed(given(recipe_data, "seeds.tasks=data"), here / "sent") == ["data/tasks.jsonl", "recipe.yaml"]


def test_a_name_from_the_root_on_is_the_nodes_own(here: Path, recipe_data: dict[str, Any]) -> None:
    recipe = given(recipe_data, f"seeds.tasks={here}/data/tasks.jsonl")
    assert packed(recipe, here / "sent") == ["recipe.yaml"]


def test_what_cannot_go_along_is_refused_by_its_key(
    here: Path, recipe_data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitted, "MOST_BYTES", 30)
    with pytest.raises(UserError, match=r"seeds.tasks: data/tasks.jsonl .* s3://"):
        packed(given(recipe_data, "seeds.tasks=data/tasks.jsonl"), here / "large")
    (here / "below").mkdir()
    monkeypatch.chdir(here / "below")
    with pytest.raises(UserError, match="above this folder"):
        packed(given(recipe_data, "seeds.tasks=../data/tasks.jsonl"), here / "above")


def test_a_clusters_runs_are_not_below_this_folder(here: Path, recipe_data: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="--runs runs"):
        Submission(given(recipe_data), "runs")


def test_the_command_is_a_run_on_the_head(here: Path, recipe_data: dict[str, Any]) -> None:
    asked = Submission(given(recipe_data), "s3://bucket/runs?region=x&a=b", max_tokens=7, max_hours=0.5)
    assert asked.command.endswith(
        " && python -m pipelines.cli run recipe.yaml --runs 's3://bucket/runs?region=x&a=b' --address auto "
        "--max-tokens 7 --max-hours 0.5"
    )


def test_an_id_says_the_recipe_and_is_the_same_for_the_same(here: Path, recipe_data: dict[str, Any]) -> None:
    recipe = given(recipe_data)
    first = Submission(recipe, "/runs").id
    assert first.startswith("tutelage-small-")
    assert first == Submission(given(recipe_data), "/runs", max_tokens=5).id
    assert first != Submission(recipe, "/other").id
    assert first != Submission(given(recipe_data, "seed=3"), "/runs").id


def test_a_run_under_way_is_not_handed_over_again_and_an_ended_one_goes_on() -> None:
    assert submitted._next("tutelage-a", [job("tutelage-b", "RUNNING")]) == "tutelage-a"
    ended = [job("tutelage-a", "FAILED"), job("tutelage-a-2", "STOPPED")]
    assert submitted._next("tutelage-a", ended) == "tutelage-a-3"
    with pytest.raises(UserError, match=r"under way already, as tutelage-a-2 \(PENDING\)"):
        submitted._next("tutelage-a", [ended[0], job("tutelage-a-2", "PENDING")])


def test_a_file_comes_out_of_a_log_as_it_went_in() -> None:
    lines = carried.lines(PAGE.encode())
    assert carried.found(f"some log\n{lines}\nmore of it") == PAGE.encode()
    assert max(map(len, lines.splitlines())) < 100
    assert carried.found(f"some log\n{lines[:-30]}") is None
    assert carried.found("no such file") is None


def test_code_goes_along_from_a_checkout_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(baggage, "is_checkout", lambda: False)
    folder = tmp_path / baggage.FOLDER
    assert baggage.runtime_env(folder)["py_modules"] == [str(folder)]
    monkeypatch.setattr(baggage, "is_checkout", lambda: True)
    names = [Path(folder).name for folder in baggage.runtime_env()["py_modules"]]
    assert names == ["cluster", "pipelines", "serving"]


def test_a_job_runs_in_its_folder_wherever_that_was_unpacked(tmp_path: Path) -> None:
    (tmp_path / baggage.FOLDER).mkdir()
    (tmp_path / baggage.FOLDER / "recipe.yaml").touch()
    environment = {"PYTHONPATH": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    listed = subprocess.run(baggage.in_folder("ls"), shell=True, env=environment, capture_output=True, text=True)
    assert listed.stdout == "recipe.yaml\n", listed.stderr


def finishes(job: FakeJob) -> None:
    """A run that is done at once, and the small job that reads its report."""
    job.log = f"Running entrypoint for job\n  answers  4/4 rows\n\nreport: {PLACE}\n"
    if "pipelines.runs.carried" in job.sent["entrypoint"]:
        assert job.sent["entrypoint"].endswith(PLACE)
        job.log = f"Running entrypoint for job\n{carried.lines(PAGE.encode())}\n"


def test_a_run_is_handed_over_followed_and_its_report_fetched(
    tutelage: Command, recipe: Path, dashboard: Dashboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of what the environment holds, nothing is sent: neither by name nor packed."""
    monkeypatch.setenv("EXAMPLE_KEY", KEY)
    dashboard.begin = finishes
    teacher = "teachers.big={kind: http, base_url: 'http://127.0.0.1:9/v1', model: big, api_key_env: EXAMPLE_KEY}"
    place = ("--address", dashboard.url, "--runs", "/shared/runs")
    code, shown, errors = tutelage("submit", str(recipe), "--set", teacher, "--follow", *place)
    assert code == 0, shown + errors
    (id,) = dashboard.jobs  # the one that carried the report is gone
    assert "  answers  4/4 rows" in shown
    assert f"report: {id}.html (a copy of {PLACE})" in shown
    assert (tmp_path / f"{id}.html").read_text() == PAGE

    sent = dashboard.jobs[id].sent
    assert "env_vars" not in sent["runtime_env"]
    files = [
        name for package in dashboard.packages.values() for name in zipfile.ZipFile(io.BytesIO(package)).namelist()
    ]
    assert "tutelage_job/recipe.yaml" in files
    assert "pipelines/cli/jobs.py" in files
    assert not [name for name in files if "__pycache__" in name or name.endswith(".pyc") or ".venv" in name]
    assert not [content for content in contents(dashboard) if KEY.encode() in content]
    assert [content for content in contents(dashboard) if b"EXAMPLE_KEY" in content]  # it is looked up on the nodes


def contents(dashboard: Dashboard) -> list[bytes]:
    """All that was sent, as it was and unpacked."""
    archives = [zipfile.ZipFile(io.BytesIO(package)) for package in dashboard.packages.values()]
    return [*dashboard.bodies, *(archive.read(name) for archive in archives for name in archive.namelist())]


@pytest.mark.parametrize("exit_code", [1, 2])
def test_the_exit_code_is_that_of_the_run(
    tutelage: Command, recipe: Path, dashboard: Dashboard, exit_code: int
) -> None:
    def fails(job: FakeJob) -> None:
        job.log, job.status, job.exit_code = "error: seeds.tasks\n", "FAILED", exit_code

    dashboard.begin = fails
    code, shown, _ = tutelage("submit", str(recipe), "--address", dashboard.url, "--runs", "/shared/runs", "--follow")
    assert code == exit_code
    assert "error: seeds.tasks" in shown


def test_jobs_are_listed_read_and_stopped(tutelage: Command, dashboard: Dashboard) -> None:
    sent = {"submission_id": "tutelage-toy", "entrypoint": "true", "metadata": {"runs": "/shared/runs"}}
    dashboard.jobs["tutelage-toy"] = FakeJob(sent, "  answers  1/9 rows\n", "RUNNING")
    place = ("--address", dashboard.url)
    listed = tutelage("jobs", *place)[1].split()
    assert listed[:2] == ["tutelage-toy", "RUNNING"]
    assert listed[-1] == "/shared/runs"
    assert tutelage("logs", "tutelage-toy", *place)[1] == "  answers  1/9 rows\n"
    code, _, errors = tutelage("logs", "tutelage-toy", "--report", "page.html", *place)
    assert (code, "has written no report" in errors) == (2, True)
    assert tutelage("stop", "tutelage-toy", *place)[1] == "tutelage-toy is STOPPED\n"
    assert tutelage("stop", "nobody", *place)[0] == 2


def test_a_token_is_taken_from_where_ray_looks_for_it(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processes of their own: Ray reads these variables once, and a Ray that is started takes a token of its own."""
    dashboard.token = "0123456789"
    for mode, token, code, words in (
        ("token", "0123456789", 0, ""),
        ("token", "9876543210", 2, "takes another token than the one it was sent"),
        ("disabled", "", 2, "wants a token: set RAY_AUTH_MODE=token, with the token in RAY_AUTH_TOKEN"),
    ):
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        command = [sys.executable, "-m", "pipelines.cli", "jobs", "--address", dashboard.url]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert (shown.returncode, words in shown.stderr) == (code, True), shown.stderr
        assert not token or token not in shown.stdout + shown.stderr
