"""Two drivers that come to one stage: one fills it; one that lost its lock stops before it says that it is done."""

import io
import threading
from dataclasses import dataclass, field

import pytest

from pipelines.core import lock, runner
from pipelines.core.errors import UserError
from pipelines.core.lock import Lost
from pipelines.core.progress import Progress
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.core.storage import Folder


@dataclass
class Driver:
    """A run of one stage, which waits in its middle until `go`."""

    runs: Folder
    name: str = "run-one"
    began: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    rows: int = 1

    @property
    def stage(self) -> Stage:
        return Stage("words", 1, {}, {}, self._write)

    def _write(self, run: StageRun) -> Outcome:
        run.progress.begin("words", self.rows)
        self.began.set()
        assert self.go.wait(30)
        for n in range(self.rows):
            run.folder.child("rows").write_bytes(str(n), self.name.encode())
            run.progress.advance(1)
        return Outcome(self.rows, "digest")

    def run(self) -> bool:
        """Whether the stage was there."""
        folder = self.runs.child(self.name)
        return runner.run([self.stage], self.runs, folder, Progress(out=io.StringIO()))[0].cached

    def manifest(self) -> dict[str, object]:
        made: dict[str, object] = self.runs.child(self.stage.folder_name).read_json("manifest.json")
        return made


def in_thread(driver: Driver) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def drive() -> None:
        try:
            driver.run()
        except (UserError, Lost) as error:
            errors.append(error)

    thread = threading.Thread(target=drive)
    thread.start()
    assert driver.began.wait(30)
    return thread, errors


def test_two_runs_that_share_a_stage_fill_it_once(any_runs: Folder) -> None:
    first, second = Driver(any_runs), Driver(any_runs, "run-two")
    thread, errors = in_thread(first)
    with pytest.raises(UserError, match="another driver is at work in words-"):
        second.run()
    assert second.runs.child("run-two").read_json("run.json")["status"] == "failed"
    first.go.set()
    thread.join()
    assert not errors
    assert second.run(), "it is there by now"
    assert first.manifest()["fence"] == 1


def test_a_driver_that_lost_its_lock_stops_before_the_manifest(
    any_runs: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LEASE_S", 0.5)
    old, new = Driver(any_runs), Driver(any_runs)
    thread, errors = in_thread(old)  # its first beat is long in coming
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(lock, "_machine", lambda: "another")
        new.go.set()
        assert not new.run()
    sealed = new.manifest()
    old.go.set()
    thread.join()
    assert [type(error) for error in errors] == [Lost]
    assert old.manifest() == sealed
    assert sealed["fence"] == 2
    assert Driver(any_runs).run()


def test_a_driver_that_finds_out_earlier_stops_at_the_next_row(
    any_runs: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LEASE_S", 0.5)
    monkeypatch.setattr(lock, "BEAT_S", 1.5)
    old = Driver(any_runs, rows=50)
    thread, errors = in_thread(old)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(lock, "_machine", lambda: "another")
        with lock.held(any_runs, old.stage.folder_name, print):
            beating = next(t for t in threading.enumerate() if t.name == f"lock of {old.stage.folder_name}")
            beating.join(30)
            old.go.set()
            thread.join()
    assert [type(error) for error in errors] == [Lost]
    assert len(any_runs.child(old.stage.folder_name).child("rows").files()) == 1
