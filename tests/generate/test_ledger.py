"""The ledger: what was said is found by whoever asks, and what was said first stays."""

from collections.abc import Sequence

import pytest

from pipelines.core.records import Completion, SoftTargets
from pipelines.core.storage import Folder
from pipelines.generate.ledger import Ledger
from pipelines.generate.teacher import TeacherId

TEACHER = TeacherId("main", "digest-1")


def said(id: str, text: str = "") -> Completion:
    return Completion(id, TEACHER.digest, "Why?", text or f"text of {id}", (1, 2), "stop", 3, 2)


def ledger(runs: Folder, teacher: TeacherId = TEACHER) -> Ledger[Completion]:
    return Ledger(runs, teacher, Completion)


def texts(book: Ledger[Completion], ids: Sequence[str]) -> dict[str, str]:
    return {id: record.text for id, record in book.find(ids).items()}


def test_what_one_wrote_the_next_to_open_finds(runs: Folder) -> None:
    writer = ledger(runs)
    assert writer.find(["a"]) == {}
    writer.add([said("a"), said("b")])
    writer.add([said("c")])
    for book in (writer, ledger(runs)):
        assert book.find(["c", "a", "never asked"]) == {"a": said("a"), "c": said("c")}


def test_what_was_let_go_of_is_read_again_from_disk(runs: Folder) -> None:
    writer = ledger(runs)
    writer.add([said("a"), said("b")])
    writer.forget_recent(["a", "never there"])
    assert writer.find(["a", "b"]) == {"a": said("a"), "b": said("b")}


@pytest.mark.parametrize("forget", ["never", "between", "after"])
def test_the_first_copy_of_an_id_is_kept(runs: Folder, forget: str) -> None:
    writer = ledger(runs)
    writer.add([said("a", "first")])
    if forget == "between":
        writer.forget_recent(["a"])
    writer.add([said("a", "second"), said("b")])
    if forget == "after":
        writer.forget_recent(["a", "b"])
    assert texts(writer, ["a"]) == {"a": "first"}


def test_all_readers_take_the_same_copy(runs: Folder) -> None:
    """Two workers that asked the same at once may write both; whoever reads later sees one of them, always the same."""
    for n in range(6):
        one, two = ledger(runs), ledger(runs)
        one.add([said("a", "first"), said(f"x{n}")])
        two.add([said("a", "second"), said(f"y{n}")])
    found = [texts(ledger(runs), ["a"]) for _ in range(3)]
    assert found[0] == found[1] == found[2]


def test_the_same_records_written_again_are_the_same_part(runs: Folder) -> None:
    ledger(runs).add([said("a"), said("b")])
    ledger(runs).add([said("b"), said("a")])
    assert len(ledger(runs).folder.files()) == 1


def test_a_worker_that_starts_reads_only_the_parts_it_needs(runs: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"{n:016x}" for n in range(100)]
    ledger(runs).add([said(id) for id in ids])
    read: list[str] = []
    read_bytes = Folder.read_bytes
    monkeypatch.setattr(Folder, "read_bytes", lambda self, name: read.append(name) or read_bytes(self, name))
    assert list(ledger(runs).find(ids[50:51])) == ids[50:51]
    assert len(read) == 1
    assert ledger(runs).find(ids).keys() == set(ids)


def test_each_teacher_and_each_kind_has_its_own_book(runs: Folder) -> None:
    ledger(runs).add([said("a")])
    signals: Ledger[SoftTargets] = Ledger(runs, TEACHER, SoftTargets)
    assert signals.find(["a"]) == {}
    assert ledger(runs, TeacherId("main", "digest-2")).find(["a"]) == {}
    assert ledger(runs, TeacherId("other", "digest-1")).find(["a"]) == {"a": said("a")}
