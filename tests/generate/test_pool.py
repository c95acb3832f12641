"""The real pool under faults: whatever dies and hangs, every row is there or is dropped with its reason.

Ray Data runs the actors; the fake teacher in them is made to fail by what is asked, or kills its process.
"""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
import pytest
from disks import BLOCK, SmallDisk

from cluster.placement import one_per_actor
from cluster.session import session
from pipelines.core import parts
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Answers, Pool
from pipelines.core.errors import UserError
from pipelines.core.progress import Progress
from pipelines.core.records import Answer, Completion, Instruction, SoftTargets
from pipelines.core.stage import Outcome, StageRun
from pipelines.core.storage import Folder
from pipelines.generate.answers import AnswerWork
from pipelines.generate.faculty import run_rows
from pipelines.generate.fake import FakeTeacher
from pipelines.generate.pool import run_here, run_on_pool, wanted_actors
from pipelines.generate.teacher import Request, RequestFailed, ScoreRequest, TeacherGone, TeacherId
from pipelines.generate.work import ShardRun

pytestmark = pytest.mark.engine

TEACHER = TeacherId("main", "digest-1")


@dataclass(frozen=True)
class Faulty:
    """Makes a teacher that fails at given prompts; `kills` also ends its actor's first two lives, at random moments.

    Not the third: a row that had been under way in all three would rightly be dropped. Rows wait for `company` actors
    to be there, and a row that lingers for `enough` of it.
    """

    tokenizer: ChatTokenizer
    notes: Path  # a file for every teacher that was made
    latency_s: float = 0.02
    kills: bool = False
    at_start: str = ""  # "raise" or "die"
    company: int = 0

    def __call__(self) -> "FaultyTeacher":
        import ray

        actor = ray.get_runtime_context().get_actor_id()
        life = len(list(self.notes.glob(f"{actor}-*"))) + 1
        (self.notes / f"{actor}-{life}").touch()
        if self.at_start == "raise":
            raise OSError("no such model")
        if self.at_start == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        chance = random.Random(f"{actor}/{life}")
        dies_after = chance.randint(5, 100)
        delay = chance.uniform(0, 0.05)
        fake = FakeTeacher(TEACHER.digest, self.tokenizer, self.latency_s)
        return FaultyTeacher(fake, dies_after if self.kills and life <= 2 else None, delay, self)


class FaultyTeacher:
    def __init__(self, fake: FakeTeacher, dies_after: int | None, delay_s: float, how: Faulty) -> None:
        self._fake, self._dies_after, self._delay_s, self._answers, self._how = fake, dies_after, delay_s, 0, how

    async def write(self, request: Request) -> Completion:
        if "refuse" in request.prompt:
            raise RequestFailed("too long")
        if "hang" in request.prompt:
            await asyncio.sleep(3600)
        if "kill" in request.prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        if "break" in request.prompt:
            raise TeacherGone("the engine is dead")
        while actors(self._how.notes) < self._how.company:
            await asyncio.sleep(0.1)
        while "linger" in request.prompt and not enough(self._how.notes).exists():
            await asyncio.sleep(0.1)
        said = await self._fake.write(request)
        self._answers += 1
        if self._answers == self._dies_after:
            threading.Timer(self._delay_s, os.kill, [os.getpid(), signal.SIGKILL]).start()
        return said

    async def score(self, request: ScoreRequest) -> SoftTargets:
        raise NotImplementedError


def actors(notes: Path) -> int:
    """How many were ever made."""
    return len({note.name.rsplit("-", 1)[0] for note in notes.iterdir()})


def enough(notes: Path) -> Path:
    return notes.parent / "enough"


@dataclass
class Pooled:
    """A faculty of which only the pool is used (see generate.faculty)."""

    make: Faulty
    pool: Pool
    watchdog_s: float
    resources: Mapping[str, Any]

    def identity(self, name: str) -> TeacherId:
        return TEACHER

    def over_shards(self, name: str, run: ShardRun, requests: int, progress: Progress) -> float:
        return run_on_pool(run, self.make, self.pool, dict(self.resources), progress, self.watchdog_s)


@dataclass
class Calm:
    """A faculty of one teacher in this process, to which nothing happens."""

    tokenizer: ChatTokenizer

    def identity(self, name: str) -> TeacherId:
        return TEACHER

    def over_shards(self, name: str, run: ShardRun, requests: int, progress: Progress) -> float:
        asyncio.run(run_here(run, FakeTeacher(TEACHER.digest, self.tokenizer), progress))
        return 0.0


@pytest.fixture(scope="module", autouse=True)
def ray_session() -> Iterator[None]:
    import ray.cloudpickle

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors cannot import a test
    with session():
        yield


class Stage:
    """Answers to given tasks on a pool, in a runs folder of its own."""

    def __init__(self, home: Path, tokenizer: ChatTokenizer, progress: Progress) -> None:
        self.runs, self.notes = Folder(str(home / "runs")), home / "notes"
        self.notes.mkdir(parents=True, exist_ok=True)
        self._tokenizer, self._progress = tokenizer, progress
        self.folder = self.runs.child("answers")

    def run(
        self,
        tasks: list[str],
        pool: Pool,
        watchdog_s: float = 60.0,
        resources: Mapping[str, Any] = MappingProxyType({"num_cpus": 0.1}),
        **faults: Any,
    ) -> Outcome:
        return self._over(Pooled(Faulty(self._tokenizer, self.notes, **faults), pool, watchdog_s, resources), tasks)

    def calm(self, tasks: list[str]) -> Outcome:
        return self._over(Calm(self._tokenizer), tasks)

    def _over(self, faculty: Pooled | Calm, tasks: list[str]) -> Outcome:
        source = self.runs.child("source")
        rows = [Instruction(f"i{n}", text, "", "seed", "train", (), "", "") for n, text in enumerate(tasks)]
        parts.write_rows(source, rows, Instruction)
        work = AnswerWork("answers", Answers(teacher="main"), TEACHER)
        stage_run = StageRun(self.folder, {}, self.runs, self._progress)
        return run_rows(work, faculty, "main", "answers", source, stage_run)  # type: ignore[arg-type]

    def lives(self) -> int:
        return len(list(self.notes.iterdir()))

    def forget_lives(self) -> None:
        for note in self.notes.iterdir():
            note.unlink()

    def bought(self) -> int:
        """Records in the ledger; AssertionError where one is there twice."""
        (ledger,) = (f for f in self.runs.folders() if f.startswith("replies-"))
        folder = self.runs.child(ledger)
        ids = [record.id for part in folder.files(".parquet") for record in folder.read_records(part, Completion)]
        assert len(ids) == len(set(ids))
        return len(ids)

    def actors(self) -> int:
        return actors(self.notes)


@pytest.fixture
def stage(tmp_path: Path, tokenizer: ChatTokenizer, quiet: Progress) -> Stage:
    return Stage(tmp_path, tokenizer, quiet)


def test_actors_killed_at_random_moments_change_nothing(
    stage: Stage, tmp_path: Path, tokenizer: ChatTokenizer, quiet: Progress
) -> None:
    tasks = [f"List {n} rivers." for n in range(24 * parts.SHARD_ROWS)]
    calm = Stage(tmp_path / "calm", tokenizer, quiet).calm(tasks)
    disturbed = stage.run(tasks, Pool(min=4, max=4), kills=True)
    assert stage.lives() >= stage.actors() + 4  # so many were killed
    assert (disturbed.rows, disturbed.digest, disturbed.dropped) == (calm.rows, calm.digest, calm.dropped)
    assert disturbed.rows == len(tasks)
    assert [a.instruction_id for a in parts.rows_of(stage.folder, Answer)] == [f"i{n}" for n in range(len(tasks))]
    assert stage.folder.folders() == ["engines", "rows"]  # the journal is gone
    seconds = disturbed.facts["engine_seconds"]
    assert seconds["busy"] > 0
    assert len(stage.folder.child("engines").files()) == stage.lives()  # also those of the killed


DRIVER = """
import io, pathlib, sys
sys.path[:0] = [sys.argv[1], str(pathlib.Path(sys.argv[1]).parent)]
import ray.cloudpickle
import test_pool
ray.cloudpickle.register_pickle_by_value(test_pool)
with test_pool.session():
    tokenizer = test_pool.ChatTokenizer(sys.argv[3])
    stage = test_pool.Stage(pathlib.Path(sys.argv[2]), tokenizer, test_pool.Progress(out=io.StringIO()))
    stage.run(test_pool.RIVERS, test_pool.Pool(min=2, max=2), latency_s=1.0)
"""
RIVERS = [f"List {n} rivers." for n in range(32 * parts.SHARD_ROWS)]


def drive(home: Path, model: Path) -> subprocess.Popen[bytes]:
    """A driver in a process of its own, at work on RIVERS."""
    here = str(Path(__file__).parent)
    return subprocess.Popen([sys.executable, "-c", DRIVER, here, str(home), str(model)])


def wait_for(seen: Callable[[], bool], driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not seen():
        assert driver.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline, "nothing to kill"
        time.sleep(0.05)


def test_driver_and_actors_killed_again_and_again_change_nothing(
    stage: Stage, tmp_path: Path, tokenizer: ChatTokenizer, tiny_model_folder: Path, quiet: Progress
) -> None:
    """Three drivers die at random moments, and so do actors under the last."""
    calm = Stage(tmp_path / "calm", tokenizer, quiet).calm(RIVERS)
    chance = random.Random(5)
    for _ in range(3):
        driver = drive(tmp_path, tiny_model_folder)
        wait_for(lambda: stage.lives() > 0, driver)  # its actors are up
        time.sleep(chance.uniform(0, 1.5))
        driver.kill()
        driver.wait()
        stage.forget_lives()
    resumed = stage.run(RIVERS, Pool(min=2, max=2), kills=True)
    assert (resumed.rows, resumed.digest, resumed.dropped) == (calm.rows, calm.digest, calm.dropped)
    assert stage.bought() == len(RIVERS)


def test_a_killed_driver_is_gone_on_from(
    stage: Stage, tmp_path: Path, tokenizer: ChatTokenizer, tiny_model_folder: Path, quiet: Progress
) -> None:
    calm = Stage(tmp_path / "calm", tokenizer, quiet).calm(RIVERS)
    driver = drive(tmp_path, tiny_model_folder)
    wait_for(lambda: len(stage.folder.child("rows").files()) >= 3, driver)
    driver.kill()
    driver.wait()
    begun = stage.folder.child("rows").files()
    resumed = stage.run(RIVERS, Pool(min=2, max=2))
    assert len(begun) < len(RIVERS) / parts.SHARD_ROWS
    assert (resumed.rows, resumed.digest, resumed.dropped) == (calm.rows, calm.digest, calm.dropped)


def test_poison_hangs_and_refusals_cost_their_own_rows_only(stage: Stage) -> None:
    tasks = [f"List {n} rivers." for n in range(5 * parts.SHARD_ROWS)]
    bad = {7: "kill", 8: "break", 40: "hang", 41: "refuse"}
    tasks = [bad.get(n, task) for n, task in enumerate(tasks)]
    outcome = stage.run(tasks, Pool(min=1, max=1), watchdog_s=1.0)
    assert outcome.dropped == {"killed its engine": 3, "request failed": 1}
    assert {d.text: (d.id, d.reason) for d in parts.dropped_of(stage.folder)} == {
        "kill": ("i7", "killed its engine"), "break": ("i8", "killed its engine"),
        "hang": ("i40", "killed its engine"), "refuse": ("i41", "request failed"),
    }  # fmt: skip
    kept = [a.instruction_id for a in parts.rows_of(stage.folder, Answer)]
    assert kept == [f"i{n}" for n in range(len(tasks)) if n not in bad]
    assert stage.lives() <= 3 * 3 + 1


@pytest.mark.parametrize(("at_start", "words"), [("raise", "no such model"), ("die", "times in a row")])
def test_an_engine_that_cannot_start_ends_the_run(stage: Stage, at_start: str, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        stage.run([f"List {n} rivers." for n in range(40)], Pool(min=1, max=1), at_start=at_start)


def test_a_full_disk_ends_the_run_in_words_and_with_room_it_goes_on(
    disk: SmallDisk, tmp_path: Path, tokenizer: ChatTokenizer, quiet: Progress
) -> None:
    tasks = [f"List {n} rivers." for n in range(2 * parts.SHARD_ROWS)]
    calm = Stage(tmp_path / "calm", tokenizer, quiet).calm(tasks)
    stage = Stage(disk.path, tokenizer, quiet)
    disk.leave(16 * BLOCK)
    with pytest.raises(UserError, match=r"^cannot write the .* bytes of .*: No space left.*Make room"):
        stage.run(tasks, Pool(min=1, max=1))
    kept = stage.bought()
    assert 0 < kept < len(tasks)
    disk.leave(256 * BLOCK)
    resumed = stage.run(tasks, Pool(min=1, max=1))
    assert (resumed.rows, resumed.digest, resumed.dropped) == (calm.rows, calm.digest, calm.dropped)
    assert stage.bought() == len(tasks)


def alive() -> int:
    """Actors' processes under this one."""
    found = psutil.Process().children(recursive=True)
    with contextlib.suppress(psutil.NoSuchProcess):
        return sum(any("PoolActor" in part for part in process.cmdline()) for process in found)
    return -1  # one ended while it was looked at


@pytest.mark.parametrize(("shards", "actors"), [(1, 2), (8, 2), (9, 3), (16, 4), (99, 4)])
def test_a_pool_has_as_many_actors_as_its_work_keeps_busy(shards: int, actors: int) -> None:
    assert wanted_actors(Pool(min=2, max=4), shards) == actors


def test_a_pool_gives_idle_actors_back(stage: Stage) -> None:
    """Of three, two end while the last row still lingers with the third."""
    tasks = [f"List {n} rivers." for n in range(24 * parts.SHARD_ROWS)]
    tasks[-1] = "Please linger."
    seen: list[int] = []
    over = threading.Event()

    def watch() -> None:
        deadline = time.monotonic() + 120
        while not over.wait(0.2) and time.monotonic() < deadline:
            seen.append(alive())
            if max(seen) == 3 and seen[-1] == 1 and len(stage.folder.child("rows").files()) == 23:
                break
        enough(stage.notes).touch()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        outcome = stage.run(tasks, Pool(min=1, max=3), latency_s=0.1, company=3)
    finally:
        over.set()
        watcher.join()
    assert (outcome.rows, stage.actors(), max(seen)) == (len(tasks), 3, 3)
    assert seen[-1] == 1


def test_actors_in_groups_of_their_own_give_them_back(stage: Stage) -> None:
    """An engine over two devices, as far as Ray is concerned."""
    from ray.util import placement_group_table

    tasks = [f"List {n} rivers." for n in range(4 * parts.SHARD_ROWS)]
    with one_per_actor([{"CPU": 1}, {"CPU": 1}]) as resources:
        assert stage.run(tasks, Pool(min=2, max=2), resources=resources).rows == len(tasks)
        groups = [row for row in placement_group_table().values() if row["name"].startswith("pool-")]
        assert len(groups) >= 2  # an actor that Ray Data starts anew has another
        assert {len(row["bundles"]) for row in groups} == {2}
    states = {row["state"] for row in placement_group_table().values() if row["name"].startswith("pool-")}
    assert states == {"REMOVED"}
