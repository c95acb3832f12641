"""A run that is a job of a cluster: what is sent for it, what it is called, and how its report comes back.

Knows which texts of a recipe name files. The job's command is `tutelage run` on the cluster's head, so all that a run
does, it does there; here nothing of it is imported.
"""

import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from cluster import baggage
from cluster.jobs import OURS, Job, Jobs
from cluster.profile import Profile
from pipelines.core import recipe_file
from pipelines.core.errors import Unreachable, UserError
from pipelines.core.hashing import key_of
from pipelines.core.recipe import AnyRecipe
from pipelines.runs import carried

MODULE = "python -m pipelines."  # a command that nodes have whether the code was installed there or came along
NAMING_FILES = ("path", "tasks", "files", "model", "adapter", "prompt")  # last words of keys; `task_type_prompt` too
MOST_BYTES = 32 * 2**20  # of files that go along: data and prompts, but no model
REPORT_S = 300.0
_REPORT = re.compile(r"^report: (\S.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Submission:
    """What is to be run, and where. Maker: the command line. Reader: this module."""

    recipe: AnyRecipe
    runs: str
    profile: Profile | None = None
    max_tokens: int | None = None
    max_hours: float | None = None

    def __post_init__(self) -> None:
        if "://" not in self.runs and not self.runs.startswith("/"):
            raise UserError(
                f"--runs {self.runs}: a cluster keeps its runs where all its nodes see them: name a folder from the "
                "root on, or a URI (s3://bucket/runs)"
            )

    @property
    def id(self) -> str:
        """The same for the same recipe in the same place; budgets are of one try."""
        profile = self.profile.model_dump(mode="json") if self.profile else None
        return f"{OURS}{self.recipe.name}-{key_of(self.recipe.model_dump(mode='json'), self.runs, profile)[:8]}"

    @property
    def command(self) -> str:
        words = ["recipe.yaml", "--runs", self.runs, "--address", "auto"]
        words += ["--profile", "profile.yaml"] if self.profile else []
        words += ["--max-tokens", str(self.max_tokens)] if self.max_tokens is not None else []
        words += ["--max-hours", str(self.max_hours)] if self.max_hours is not None else []
        return baggage.in_folder(f"{MODULE}cli run {shlex.join(words)}")


def submit(submission: Submission, jobs: Jobs) -> str:
    """Hand a run over; returns its job's id. UserError where it is under way already, or names files that stay here."""
    id = _next(submission.id, jobs.ours())
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / baggage.FOLDER
        folder.mkdir()
        pack(submission, folder)
        about = {"recipe": submission.recipe.name, "runs": submission.runs}
        jobs.submit(id, submission.command, baggage.runtime_env(folder), about)
    return id


def pack(submission: Submission, folder: Path) -> None:
    """The folder in which the job's command runs: recipe, profile, and the small files that the recipe names."""
    (folder / "recipe.yaml").write_text(recipe_file.dump(submission.recipe), encoding="utf-8")
    if submission.profile:
        text = yaml.safe_dump(submission.profile.model_dump(mode="json"), sort_keys=False)
        (folder / "profile.yaml").write_text(text, encoding="utf-8")
    left = MOST_BYTES
    for key, file in files_here(submission.recipe):
        parts = _parts(file)
        left -= sum(part.stat().st_size for part in parts)
        if ".." in file.parts or left < 0:
            why = "is above this folder" if ".." in file.parts else f"would make it more than {MOST_BYTES >> 20} MiB"
            raise UserError(
                f"{key}: {file} is a file of this machine that cannot go along with the job, as it {why}; put it where "
                "all nodes see it, and name it from the root on or as an s3:// URI"
            )
        for part in parts:
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(part, folder / part)


def files_here(recipe: AnyRecipe) -> list[tuple[str, Path]]:
    """(key, file) of what a recipe names relative to this folder, each once; a name from the root on is the nodes'."""
    texts = _texts(recipe.model_dump(mode="json"))
    named = {file: key for key, text in texts for file in _files(key, text) if file.exists()}
    return [(key, file) for file, key in named.items()]


def report_of(job: Job, jobs: Jobs) -> tuple[str, bytes]:
    """(where a run's report lies, the page). It is read by a small job on the head, which sees all that the run saw."""
    places = _REPORT.findall(jobs.log(job.id))
    if not places:
        raise UserError(f"{job.id} has written no report: a run does so when it is done, and this one is {job.status}")
    id = f"report-of-{job.id}-{uuid4().hex[:4]}"  # by which `jobs` does not know it
    jobs.submit(id, f"{MODULE}runs.carried {shlex.quote(places[-1])}", baggage.runtime_env(), {})
    jobs.ended(id, REPORT_S)
    log = jobs.log(id)
    if (page := carried.found(log)) is None:
        raise Unreachable(
            f"the report {places[-1]} could not be read on the cluster: {log[-2000:]}\n"
            f"`tutelage logs {job.id} --report FILE` (with --address) asks for it again"
        )
    jobs.forget(id)
    return places[-1], page


def _parts(file: Path) -> list[Path]:
    """A file, or the files of a folder but for hidden ones, which are no data."""
    if file.is_file():
        return [file]
    inside = (part for part in file.rglob("*") if part.is_file())
    return [part for part in inside if not any(name.startswith(".") for name in part.relative_to(file).parts)]


def _next(id: str, known: Sequence[Job]) -> str:
    """The id of the next try. UserError where one is under way."""
    tries = [job for job in known if job.id == id or job.id.startswith(f"{id}-")]
    for job in tries:
        if not job.is_over:
            raise UserError(
                f"this recipe is under way already, as {job.id} ({job.status}): see `tutelage logs {job.id} --follow`, "
                f"or stop it by `tutelage stop {job.id}` (both with --address)"
            )
    return f"{id}-{len(tries) + 1}" if tries else id


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All texts of a recipe, each with its key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(item, f"{key}.{name}" if key else name)


def _files(key: str, text: str) -> Iterator[Path]:
    """What it names, if it names a file: one of data, or the module of a function of the user's own."""
    module, colon, _ = text.partition(":")
    if text and key.endswith(NAMING_FILES) and not text.startswith(("/", "~")) and "://" not in text:
        yield Path(text)
    if colon and module.replace(".", "").isidentifier():
        yield Path(*module.split(".")).with_suffix(".py")
