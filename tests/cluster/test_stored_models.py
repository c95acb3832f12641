"""Models on an object store: copied once per node, whole, and the same model wherever they lie."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import stores

from cluster.cache import cache_root, fetched
from cluster.models import adapted, resolve, resolve_tokenizer
from cluster.scratch import scratch
from pipelines.core.errors import UserError
from pipelines.core.lock import Lost
from pipelines.core.progress import Progress
from pipelines.core.stage import Done, StageRun
from pipelines.core.storage import Folder
from pipelines.train.student import model_of, ref_of

FETCH = """
import sys
from cluster.cache import fetched
from pipelines.core.storage import Folder
print(fetched(Folder(sys.argv[1])))
"""


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def stored(stored_runs: Folder, model: Path) -> Folder:
    folder = stored_runs.child("student-0123").child("model")
    folder.upload(model)
    return folder


def test_a_model_is_the_same_on_a_disk_and_on_an_object_store(stored: Folder, model: Path) -> None:
    there, here = resolve(stored.uri, "teachers.main.model"), resolve(str(model), "teachers.main.model")
    assert there.digest == here.digest
    assert there.is_here()
    assert there.header() == here.header()
    assert there.folder() != here.folder()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        assert (there.folder() / name).read_bytes() == (model / name).read_bytes()
    tokens = [resolve_tokenizer(ref, "teachers.main.tokenizer").digest for ref in (stored.uri, str(model))]
    assert tokens[0] == tokens[1]


def test_an_adapter_may_lie_there_too(stored_runs: Folder, model: Path, tmp_path: Path) -> None:
    local = tmp_path / "adapter"
    local.mkdir()
    (local / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    (local / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    stored_runs.child("adapter").upload(local)
    base = resolve(str(model), "model")
    assert (
        adapted(base, stored_runs.child("adapter").uri, "adapter").digest == adapted(base, str(local), "adapter").digest
    )


def test_what_is_no_model_is_told_with_the_recipes_key(stored_runs: Folder, object_store: int) -> None:
    with pytest.raises(UserError, match="nothing in this folder"):
        resolve(stored_runs.uri, "teachers.main.model")
    stored_runs.write_bytes("readme", b"")
    with pytest.raises(UserError, match=r"teachers.main.model: .* is not a model folder"):
        resolve(stored_runs.uri, "teachers.main.model")


def test_a_folder_is_fetched_once_and_progress_is_shown(stored: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    first = fetched(stored)
    assert "fetching model: " in capsys.readouterr().err
    assert fetched(stored) == first
    assert capsys.readouterr().err == ""


def test_a_copy_that_was_damaged_is_fetched_again(stored: Folder, model: Path) -> None:
    folder = fetched(stored)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").unlink()
    assert fetched(stored) == folder
    assert (folder / "config.json").read_bytes() == (model / "config.json").read_bytes()
    assert (folder / "tokenizer.json").is_file()


def test_a_fetch_that_was_killed_leaves_no_copy(stored: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "download", dies)
        with pytest.raises(KeyboardInterrupt):
            fetched(stored)
    assert not [path for path in (cache_root() / "fetched").iterdir() if path.is_dir() and path.suffix != ".partial"]
    assert (fetched(stored) / "config.json").is_file()


def test_two_processes_on_one_node_fetch_it_once(object_store: int, stored: Folder) -> None:
    with stores.Flaky(object_store, lambda *_: None) as network:
        uri = stored.uri.replace(str(object_store), str(network.port))
        both = [subprocess.Popen([sys.executable, "-c", FETCH, uri], stdout=subprocess.PIPE, text=True) for _ in "ab"]
        told = {process.communicate(timeout=120)[0] for process in both}
        assert [process.returncode for process in both] == [0, 0]
        assert len(told) == 1
        gets = [request for request in network.seen if request.startswith("GET") and "model.safetensors" in request]
        assert len(gets) == 1


def test_a_model_that_changes_under_a_run_is_told(stored: Folder) -> None:
    found = resolve(stored.uri, "model")
    found.folder()
    stored.write_bytes("config.json", json.dumps({**found.header(), "hidden_size": 1}).encode())
    with pytest.raises(UserError, match="another model than when this run began"):
        found.folder()


def test_a_runs_own_student_is_a_model_by_reference(stored: Folder, model: Path, stored_runs: Folder) -> None:
    done = Done(stored_runs.child("student-0123"), {"facts": {}})
    assert ref_of(done) == stored.uri
    assert resolve(ref_of(done), "").digest == resolve(str(model), "").digest
    assert (model_of(done) / "model.safetensors").is_file()
    given = Done(stored_runs.child("student_init-4567"), {"facts": {"model": resolve(stored.uri, "").address()}})
    assert model_of(given) == model_of(done)


def test_a_reference_is_understood_in_another_working_folder(
    stored: Folder, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(model.parent)
    near, far = resolve(model.name, "model"), resolve(stored.uri, "model")
    sent = near.from_anywhere(), far.from_anywhere()
    monkeypatch.chdir(tmp_path)
    assert [each.folder() for each in sent] == [model.resolve(), far.folder()]
    assert sent[0].digest == near.digest


def scratch_run(folder: Folder, quiet: Progress) -> StageRun:
    return StageRun(folder, {}, folder.parent, quiet)


def test_work_on_a_local_copy_ends_in_the_stages_folder(any_runs: Folder, quiet: Progress, model: Path) -> None:
    folder = any_runs.child("student-89ab")
    folder.write_bytes("begun.json", b"{}")
    folder.child("train-1").write_bytes("checkpoint", b"large")
    with scratch(scratch_run(folder, quiet), stays="train-") as here:
        assert (here / "begun.json").read_bytes() == b"{}"
        assert folder.is_local or not (here / "train-1").exists()
        shutil.copytree(model, here / "model")
    assert folder.child("model").read_bytes("config.json") == (model / "config.json").read_bytes()
    assert folder.child("train-1").exists("checkpoint")
    assert not folder.is_local or here.is_dir()


def test_work_that_was_ended_goes_on_from_what_it_had(any_runs: Folder, quiet: Progress) -> None:
    run = scratch_run(any_runs.child("student-89ab"), quiet)

    def work() -> None:
        with scratch(run) as here:
            (here / "curve.jsonl").write_text("1\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    shutil.rmtree(cache_root(), ignore_errors=True)  # another node
    with scratch(run) as here:
        assert (here / "curve.jsonl").read_text() == "1\n"


def test_who_lost_the_stage_leaves_it_as_it_is(stored_runs: Folder, quiet: Progress) -> None:
    def lost() -> None:
        raise Lost("it is another's")

    folder = stored_runs.child("student-89ab")
    folder.write_bytes("curve.jsonl", b"theirs")
    with pytest.raises(Lost), scratch(StageRun(folder, {}, stored_runs, quiet, lost)) as here:
        (here / "curve.jsonl").write_text("mine")
    assert folder.read_bytes("curve.jsonl") == b"theirs"
