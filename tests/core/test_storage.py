"""Folders: nothing outside them, whole files or none, and a reason a user can act on."""

import os
import pickle
from pathlib import Path

import pytest

from pipelines.core.errors import UserError
from pipelines.core.records import Dropped
from pipelines.core.storage import Folder


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "/etc/passwd", "", ".hidden", "a\\b", "a\n", "~", "é"])
def test_a_name_that_could_lead_outside_is_refused(runs: Folder, name: str) -> None:
    for touch in (runs.child, runs.exists, runs.read_bytes, lambda n: runs.write_bytes(n, b"x")):
        with pytest.raises(UserError, match="not a plain file name"):
            touch(name)


def test_a_file_is_written_whole_and_replaced_whole(runs: Folder, tmp_path: Path) -> None:
    runs.write_bytes("a.bin", b"first")
    runs.write_bytes("a.bin", b"2nd")
    runs.child("below").write_json("b.json", {"é": [1, None]})
    assert runs.read_bytes("a.bin") == b"2nd"
    assert runs.child("below").read_json("b.json") == {"é": [1, None]}
    assert (runs.files(), runs.folders()) == (["a.bin"], ["below"])
    assert os.listdir(tmp_path / "runs" / "below") == ["b.json"]


def test_a_write_that_fails_leaves_nothing_behind(runs: Folder, tmp_path: Path) -> None:
    (tmp_path / "runs" / "taken").mkdir(parents=True)
    with pytest.raises(UserError, match="cannot write"):
        runs.write_bytes("taken", b"a folder is in the way")
    assert os.listdir(tmp_path / "runs") == ["taken"]


def test_a_folder_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        Folder(str(tmp_path / "file" / "runs")).write_bytes("a", b"")
    if os.geteuid() != 0:
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        with pytest.raises(UserError, match="cannot write"):
            Folder(str(locked)).write_bytes("a", b"")


def test_a_uri_that_cannot_be_opened_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        Folder("nowhere://bucket/runs").files()


def test_the_same_folder_by_path_and_by_uri(tmp_path: Path) -> None:
    by_path, by_uri = Folder(str(tmp_path / "runs")), Folder((tmp_path / "runs").as_uri())
    by_uri.child("stage").write_bytes("a", b"1")
    assert by_path.child("stage").read_bytes("a") == b"1"
    assert by_uri.is_local
    assert by_uri.local_path() == tmp_path / "runs"


def test_a_child_keeps_the_options_of_an_object_store() -> None:
    child = Folder("s3://bucket/runs?endpoint_override=store.internal%3A9000&scheme=http").child("stage")
    assert child.uri == "s3://bucket/runs/stage?endpoint_override=store.internal%3A9000&scheme=http"
    assert child.name == "stage"
    assert child.parent.uri == "s3://bucket/runs?endpoint_override=store.internal%3A9000&scheme=http"


def test_a_local_path_may_hold_a_question_mark(tmp_path: Path) -> None:
    Folder(str(tmp_path / "why?" / "runs")).child("stage").write_bytes("a", b"1")
    assert (tmp_path / "why?" / "runs" / "stage" / "a").read_bytes() == b"1"


def test_what_is_not_there_is_empty_and_what_is_deleted_is_gone(runs: Folder) -> None:
    assert (runs.files(), runs.folders(), runs.size(), runs.exists("a")) == ([], [], 0, False)
    runs.child("stage").write_bytes("a", b"123")
    runs.child("stage").child("rows").write_bytes("b", b"45")
    assert runs.size() == 5
    runs.child("stage").delete()
    runs.child("stage").delete()
    assert runs.folders() == []


def test_records_are_read_whole_and_counted(runs: Folder) -> None:
    rows = [Dropped(str(n), "answers", "cut off", f"text {n}", "") for n in range(5)]
    runs.write_records("part.parquet", rows, Dropped)
    assert runs.read_records("part.parquet", Dropped) == rows
    assert runs.read_footer("part.parquet") == (5, {})


def test_a_folder_travels_to_another_process_after_use(runs: Folder) -> None:
    runs.write_bytes("a", b"1")
    assert pickle.loads(pickle.dumps(runs)).read_bytes("a") == b"1"
