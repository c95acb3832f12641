"""Drivers that fill one runs folder on a cluster while something goes wrong there, and what that cost.

Knows the command line, what it leaves on disk, and when to strike. What goes wrong is in `faults.py`.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nodes import Nodes

S = TypeVar("S")
LONGEST_WAIT_S = 900.0
COMPARED = ("key", "rows", "digest", "dropped")  # of a manifest


@dataclass
class Drill:
    """One runs folder and the drivers that fill it, one after another. A context manager: no driver outlives it."""

    recipe: Path
    runs: Path
    log: Path
    nodes: Nodes
    settings: tuple[str, ...] = ()
    began: float = field(default_factory=time.monotonic)

    def __enter__(self) -> "Drill":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.kill()
        self.driver.wait()

    def start(self) -> None:
        command = [sys.executable, "-m", "pipelines.cli", "run", str(self.recipe), "--runs", str(self.runs)]
        settings = [word for setting in self.settings for word in ("--set", setting)]
        with self.log.open("ab") as out:
            self.driver = subprocess.Popen(
                [*command, *settings, "--address", self.nodes.address],
                env=self.nodes.environment, stdout=out, stderr=out,
            )  # fmt: skip

    def kill_driver(self) -> None:
        """Its user gives the same command again."""
        self.driver.kill()
        self.driver.wait()
        self.start()

    def until(self, seen: Callable[[], S]) -> S:
        """What is there to be seen, as soon as there is something. The driver must get there."""
        deadline = time.monotonic() + LONGEST_WAIT_S
        while not (found := seen()):
            assert self.driver.poll() is None, f"ended before it could be disturbed:\n{self.words()}"
            assert time.monotonic() < deadline, f"never got there:\n{self.words()}"
            time.sleep(0.02)
        return found

    def finish(self, code: int = 0) -> float:
        """Wait for the end; the seconds since the beginning."""
        assert self.driver.wait(timeout=LONGEST_WAIT_S) == code, self.words()
        return time.monotonic() - self.began

    def files(self, pattern: str) -> list[Path]:
        return sorted(self.runs.glob(pattern))

    def manifests(self) -> dict[str, dict[str, Any]]:
        return {m["stage"]: m for m in (json.loads(file.read_text()) for file in self.files("*/manifest.json"))}

    def artefacts(self) -> dict[str, dict[str, Any]]:
        """By stage, what must not depend on any fault."""
        return {stage: {fact: made[fact] for fact in COMPARED} for stage, made in self.manifests().items()}

    def steps(self) -> list[int]:
        """The steps that training made, in the order in which it made them."""
        return [json.loads(line)["step"] for curve in self.files("student-*/curve.jsonl") for line in curve.open()]

    def words(self) -> str:
        """The last that the drivers said."""
        return self.log.read_text()[-3000:]
