"""Folders on an object store are what they are on a disk; a network that fails costs time and no data."""

import json
import os
import pickle
from pathlib import Path

import pytest
import stores
from pyarrow.fs import FileSystem

from pipelines.core import objects
from pipelines.core.errors import Unreachable, UserError
from pipelines.core.records import Dropped
from pipelines.core.storage import Folder

ROWS = [Dropped(str(n), "answers", "cut off", f"text {n}", "") for n in range(5)]


def test_files_are_written_read_listed_and_removed(any_runs: Folder) -> None:
    any_runs.write_bytes("a.bin", b"first")
    any_runs.write_bytes("a.bin", b"2nd")
    any_runs.child("below").write_json("b.json", {"é": [1, None]})
    any_runs.child("below").child("deep").write_bytes("c", b"45")
    assert any_runs.read_bytes("a.bin") == b"2nd"
    assert any_runs.child("below").read_json("b.json") == {"é": [1, None]}
    assert (any_runs.files(), any_runs.folders()) == (["a.bin"], ["below"])
    assert (any_runs.child("below").files(".json"), any_runs.child("below").folders()) == (["b.json"], ["deep"])
    assert any_runs.exists("a.bin")
    any_runs.remove("a.bin")
    any_runs.remove("a.bin")
    assert not any_runs.exists("a.bin")
    any_runs.child("below").delete()
    any_runs.child("below").delete()
    assert (any_runs.files(), any_runs.folders(), any_runs.size()) == ([], [], 0)


def test_what_is_not_there_is_empty_or_told(any_runs: Folder) -> None:
    assert (any_runs.files(), any_runs.folders(), any_runs.size(), any_runs.exists("a")) == ([], [], 0, False)
    with pytest.raises(FileNotFoundError):
        any_runs.read_bytes("a")


def test_records_are_read_whole_and_counted_by_their_footer(any_runs: Folder) -> None:
    any_runs.write_records("part.parquet", ROWS, Dropped, {"tokens": 7})
    assert any_runs.read_records("part.parquet", Dropped) == ROWS
    assert any_runs.read_footer("part.parquet") == (5, {"tokens": 7})


def test_a_large_file_comes_back_as_it_was(stored_runs: Folder) -> None:
    data = os.urandom(2**20) * 12  # more than one part
    stored_runs.write_bytes("large", data)
    assert stored_runs.read_bytes("large") == data
    assert stored_runs.size() == len(data)


def test_of_two_who_create_a_file_one_does(any_runs: Folder) -> None:
    assert any_runs.create("claim", b"mine")
    assert not any_runs.create("claim", b"yours")
    assert any_runs.read_bytes("claim") == b"mine"


def test_a_folder_on_an_object_store_travels_to_another_process(stored_runs: Folder) -> None:
    stored_runs.write_bytes("a", b"1")
    assert pickle.loads(pickle.dumps(stored_runs)).read_bytes("a") == b"1"


def test_folders_that_other_tools_made_hold_nothing_of_their_own(stored_runs: Folder, object_store: int) -> None:
    import pyarrow.fs as pafs

    fs = pafs.S3FileSystem(endpoint_override=f"127.0.0.1:{object_store}", scheme="http", region="us-east-1")
    place = stored_runs.uri.removeprefix("s3://").partition("?")[0]
    fs.create_dir(f"{place}/stage/rows", recursive=True)
    assert (stored_runs.files(), stored_runs.folders()) == ([], ["stage"])
    assert (stored_runs.child("stage").child("rows").files(), stored_runs.size()) == ([], 0)
    with fs.open_output_stream(f"{place}/stage/a") as stream:
        stream.write(b"123")
    assert stored_runs.child("stage").read_bytes("a") == b"123"


def test_folders_that_ray_train_made_go_with_what_was_in_them(stored_runs: Folder) -> None:
    filesystem, path = FileSystem.from_uri(stored_runs.uri)
    filesystem.create_dir(f"{path}/stage/checkpoint", recursive=True)
    stored_runs.child("stage").write_bytes("kept.json", b"{}")
    stored_runs.child("stage").child("checkpoint").write_bytes("weights", b"1234")
    stored_runs.child("stage").child("checkpoint").delete()
    assert (stored_runs.child("stage").folders(), stored_runs.child("stage").files()) == ([], ["kept.json"])
    stored_runs.child("stage").delete()
    assert stored_runs.folders() == []


def test_a_bucket_that_is_not_there_is_the_users_to_mend(object_store: int) -> None:
    nowhere = Folder(stores.uri(object_store, "runs").replace("bucket", "another"))
    for touch in (nowhere.files, lambda: nowhere.write_bytes("a", b""), lambda: nowhere.read_bytes("a")):
        with pytest.raises(UserError, match="no such bucket"):
            touch()


def test_a_uri_with_a_misspelt_option_or_without_a_bucket_is_refused() -> None:
    with pytest.raises(UserError, match="no option 'endpoint'; there is endpoint_override"):
        Folder("s3://bucket/runs?endpoint=127.0.0.1").files()
    with pytest.raises(UserError, match="names no bucket"):
        Folder("s3:///runs").files()
    with pytest.raises(UserError, match="holds no keys") as refused:
        Folder("s3://me:sk-secret@bucket/runs").files()
    assert "sk-secret" not in str(refused.value)


def test_keys_may_lie_in_the_users_aws_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("[work]\naws_access_key_id = me\naws_secret_access_key = 50%secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    assert objects._profile() == {"access_key_id": "me", "secret_access_key": "50%secret"}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert objects._profile() == {}


@pytest.mark.parametrize("trouble", ["503", "lost", "cut"])
def test_requests_that_fail_are_put_again(object_store: int, tmp_path: Path, trouble: stores.Trouble) -> None:
    with stores.Flaky(object_store, lambda n, _: trouble if n % 3 == 0 else None) as network:
        runs = Folder(stores.uri(network.port, tmp_path.name))
        for n in range(4):
            runs.write_json(f"{n}.json", {"n": n})
            runs.child("rows").write_records(f"part-{n}.parquet", ROWS, Dropped)
        assert runs.files() == [f"{n}.json" for n in range(4)]
        assert [runs.read_json(f"{n}.json")["n"] for n in range(4)] == [0, 1, 2, 3]
        assert [runs.child("rows").read_footer(part)[0] for part in runs.child("rows").files()] == [5] * 4
        runs.delete()
        assert runs.size() == 0


def test_a_request_that_stalls_is_put_again(object_store: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "SILENCE_S", 0.5)
    with stores.Flaky(object_store, lambda n, _: "stall" if n % 3 == 0 else None) as network:
        runs = Folder(stores.uri(network.port, tmp_path.name))
        for n in range(4):
            runs.write_bytes(str(n), json.dumps(n).encode())
        assert [json.loads(runs.read_bytes(name)) for name in runs.files()] == [0, 1, 2, 3]


@pytest.mark.parametrize("trouble", ["503", "lost", "stall"])
def test_patience_ends_in_words(
    object_store: int, tmp_path: Path, trouble: stores.Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "SILENCE_S", 0.3)
    monkeypatch.setattr(objects, "TRIES", 0)
    monkeypatch.setattr(objects, "PATIENCE_S", 0.5)
    with stores.Flaky(object_store, lambda *_: trouble) as network:
        runs = Folder(stores.uri(network.port, tmp_path.name))
        for touch in (runs.files, lambda: runs.write_bytes("a", b"1"), lambda: runs.read_bytes("a")):
            with pytest.raises(Unreachable, match="the store does not answer"):
                touch()
