"""A driver and its pool's actors killed with SIGKILL at random moments, six times: the run ends as the undisturbed one.

The command line, Ray Data's pool of two actors and the fake teacher in them. Under each of two drivers each actor dies
once, and not more often: a row that was under way in three deaths would rightly be dropped.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from pipelines.core.parts import dropped_of, rows_of
from pipelines.core.records import Answer, Completion
from pipelines.core.storage import Folder

pytestmark = pytest.mark.engine

TASKS, LATENCY_S, LONGEST_WAIT_S = 3072, 0.2, 180.0


@dataclass(frozen=True)
class Run:
    """One runs folder, and the command that fills it."""

    recipe: Path
    runs: Path
    log: Path

    def start(self, *options: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "pipelines.cli", "run", str(self.recipe), "--runs", str(self.runs)]
        with self.log.open("ab") as out:
            return subprocess.Popen([*command, *options], stdout=out, stderr=out)

    def finish(self, *options: str) -> None:
        assert self.start(*options).wait(timeout=600) == 0, self.words()

    def words(self) -> str:
        return self.log.read_text()[-3000:]

    def folder(self, stage: str) -> Folder:
        (found,) = self.runs.glob(f"{stage}-*")
        return Folder(str(found))

    def said(self) -> list[Completion]:
        """Every record of the ledger, as often as it is there."""
        ledger = self.folder("replies")
        return [record for part in ledger.files(".parquet") for record in ledger.read_records(part, Completion)]

    def manifests(self) -> dict[str, Any]:
        found = [json.loads(file.read_text()) for file in self.runs.glob("*/manifest.json")]
        return {manifest["stage"]: manifest for manifest in found}


class Killer:
    """Kills a run's driver and the actors it started. Each must be at work when it dies."""

    def __init__(self, run: Run, chance: random.Random) -> None:
        self.run, self.chance, self.kills = run, chance, 0

    def disturb(self) -> None:
        """Start a driver, kill both of its actors and then the driver, each a random time after the one before."""
        driver, before = self.run.start(), self.bought()
        self.wait_for(driver, lambda: len(actors_of(driver)) == 2 and self.bought() > before)
        for pid in [*self.chance.sample(actors_of(driver), 2), driver.pid]:
            time.sleep(self.chance.uniform(0, 2.0))
            assert "answers" not in self.run.manifests(), f"done before it could be killed:\n{self.run.words()}"
            os.kill(pid, signal.SIGKILL)
            self.kills += 1
        driver.wait()

    def wait_for(self, driver: "subprocess.Popen[bytes]", seen: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LONGEST_WAIT_S
        while not seen():
            assert driver.poll() is None, f"ended before it could be killed:\n{self.run.words()}"
            assert time.monotonic() < deadline, f"nothing to kill:\n{self.run.words()}"
            time.sleep(0.05)

    def bought(self) -> int:
        return len(list(self.run.runs.glob("replies-*/*.parquet")))


def actors_of(driver: "subprocess.Popen[bytes]") -> list[int]:
    """The processes of this driver's pool, by pid."""
    return sorted(process.pid for process in psutil.Process(driver.pid).children(recursive=True) if is_actor(process))


def is_actor(process: psutil.Process) -> bool:
    try:
        return any("PoolActor" in part for part in process.cmdline())
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def recipe(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Given tasks, all of which the pool answers; answers that are cut off are dropped."""
    home = tmp_path_factory.mktemp("recipe")
    tasks = [{"instruction": f"List {n} rivers.", "instances": []} for n in range(TASKS)]
    (home / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    pool = {"min": 2, "max": 2}
    data = {
        "name": "kills", "method": "generate", "seeds": {"tasks": str(home / "tasks.jsonl")},
        "teachers": {
            "main": {"kind": "fake", "model": str(model), "latency_s": LATENCY_S, "pool": pool, "bulk_from": 0}
        },
        "instructions": {"kind": "given"},
        "answers": {"teacher": "main", "sampling": {"max_tokens": 70}, "cut_off": "drop"},
    }  # fmt: skip
    (home / "kills.yaml").write_text(yaml.safe_dump(data))
    return home / "kills.yaml"


@pytest.fixture(scope="module")
def both(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """(the undisturbed run, in the driver's process; the one in which six processes were killed)."""
    home = tmp_path_factory.mktemp("kills")
    calm, killed = (Run(recipe, home / name, home / f"{name}.log") for name in ("calm", "killed"))
    calm.finish("--set", "teachers.main.bulk_from=1000000")
    killer = Killer(killed, random.Random(23))
    killer.disturb()
    killer.disturb()
    killed.finish()
    assert killer.kills == 6
    return calm, killed


def test_content_and_drops_are_those_of_the_undisturbed_run(both: tuple[Run, Run]) -> None:
    calm, killed = (run.manifests() for run in both)
    assert calm.keys() == killed.keys() == {"seeds", "instructions", "answers"}
    for name in calm:
        for fact in ("key", "rows", "digest", "dropped", "prompt_tokens", "output_tokens"):
            assert calm[name][fact] == killed[name][fact], (name, fact)
    folders = [run.folder("answers") for run in both]
    rows, drops = ([list(read) for read in every] for every in (
        [rows_of(folder, Answer) for folder in folders], [dropped_of(folder) for folder in folders],
    ))  # fmt: skip
    assert rows[0] == rows[1]
    assert drops[0] == drops[1]
    assert {drop.reason for drop in drops[1]} == {"cut off"}  # none for a kill
    assert len(rows[1]) + len(drops[1]) == TASKS


def test_nothing_was_bought_twice(both: tuple[Run, Run]) -> None:
    calm, killed = (sorted(run.said(), key=lambda record: record.id) for run in both)
    assert len({record.id for record in killed}) == len(killed) == TASKS
    assert calm == killed


def test_nothing_is_left_of_the_journal(both: tuple[Run, Run]) -> None:
    assert "journal" not in both[1].folder("answers").folders()


def test_the_report_tells_how_busy_the_engines_were(both: tuple[Run, Run]) -> None:
    """Also those of killed actors; the driver that did all by itself had no pool."""
    rows = [json.loads(next(run.runs.glob("run-*/report.json")).read_text())["teachers"][0] for run in both]
    assert rows[0]["engines"] is None
    assert rows[1]["engines"]["busy"] > 0
    assert rows[1]["engines"]["busy_per_row"] == pytest.approx(rows[1]["engines"]["busy"] / rows[1]["kept"])
    assert len(list(both[1].runs.glob("answers-*/engines/*.json"))) >= 4
