"""Part files: fixed shards, committed whole, summed up in any order."""

from collections.abc import Iterator

import pytest

from pipelines.core import parts
from pipelines.core.parts import Shard
from pipelines.core.records import Answer, Dropped
from pipelines.core.storage import Folder


def answers(*numbers: int) -> list[Answer]:
    return [Answer(f"a{n}", f"i{n}", f"c{n}", "Why?", f"Because {n}.", "stop") for n in numbers]


def dropped(id: str, reason: str) -> Dropped:
    return Dropped(id, "answers", reason, "Why?", "")


def test_shards_cut_every_part_and_cover_each_row_once(runs: Folder) -> None:
    parts.write_shard(runs, Shard(0, "", 0, 0), answers(*range(5)), Answer, [])
    parts.write_shard(runs, Shard(1, "", 0, 0), [], Answer, [])
    parts.write_shard(runs, Shard(2, "", 0, 0), answers(5, 6), Answer, [])
    shards = parts.cut(runs, rows_per_shard=2)
    assert [(s.number, s.start, s.stop) for s in shards] == [(0, 0, 2), (1, 2, 4), (2, 4, 5), (3, 0, 2)]
    read = [row for shard in shards for row in parts.read_shard(runs, shard, Answer)]
    assert read == answers(*range(7)) == list(parts.rows_of(runs, Answer))
    assert parts.cut(runs, rows_per_shard=2) == shards


def test_shards_grow_with_the_input_and_with_nothing_else(runs: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a driver holds a bounded number of them; a part is the most that one shard can be."""
    monkeypatch.setattr(parts, "MANY_SHARDS", 4)
    for rows, shards in ((4 * 32, 4), (4 * 32 + 1, 3), (8 * 32 + 1, 3), (4 * 256, 4), (8 * 256, 8)):
        folder = runs.child(f"rows-{rows}")
        parts.write_rows(folder, answers(*range(rows)), Answer)
        assert len(parts.cut(folder)) == shards


def test_a_summary_counts_rows_and_reasons_and_knows_no_layout(runs: Folder) -> None:
    one, two = runs.child("one"), runs.child("two")
    lost = [dropped("x", "cut off"), dropped("y", "cut off"), dropped("z", "empty answer")]
    parts.write_rows(one, answers(1, 2, 3), Answer, lost)
    parts.write_shard(two, Shard(0, "", 0, 0), answers(3), Answer, lost[:1])
    assert parts.has_shard(two, Shard(0, "", 0, 0))
    assert not parts.has_shard(two, Shard(1, "", 0, 0))
    parts.write_shard(two, Shard(1, "", 0, 0), answers(2, 1), Answer, lost[1:])
    assert parts.summary(one, Answer) == parts.summary(two, Answer)
    count, digest, reasons = parts.summary(one, Answer)
    assert (count, reasons) == (3, {"cut off": 2, "empty answer": 1})
    parts.write_rows(one, answers(1, 2, 4), Answer, lost)
    assert parts.summary(one, Answer)[1] != digest


def test_a_summary_reads_footers_and_rows_only_where_these_tell_nothing(
    runs: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = [dropped("x", "cut off"), dropped("y", "empty answer")]
    parts.write_rows(runs, answers(1, 2, 3), Answer, lost)
    before = runs.child("before")  # as parts were written that had neither
    before.child("rows").write_records("part-000000.parquet", answers(1, 2, 3), Answer)
    before.child("dropped").write_records("part-000000.parquet", lost, Dropped)
    assert parts.summary(before, Answer) == parts.summary(runs, Answer)

    def refuse(*_: object) -> None:
        raise AssertionError("rows are read")

    monkeypatch.setattr(Folder, "read_records", refuse)
    assert parts.summary(runs, Answer)[::2] == (3, {"cut off": 1, "empty answer": 1})
    with pytest.raises(AssertionError, match="rows are read"):
        parts.summary(before, Answer)


def test_rows_are_written_as_they_are_made(runs: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a stage holds one part of them; what was dropped lies beside the rows that it was made among."""
    monkeypatch.setattr(parts, "PART_ROWS", 2)
    written: list[int] = []

    def made() -> Iterator[Answer | Dropped]:
        for n in range(5):
            written.append(len(runs.child("rows").files()))
            yield answers(n)[0]
            yield dropped(f"x{n}", "cut off")

    parts.write_rows(runs, made(), Answer, [dropped("first", "too long")])
    assert written == [0, 0, 1, 1, 2]
    assert list(parts.rows_of(runs, Answer)) == answers(*range(5))
    assert [row.id for row in parts.dropped_of(runs)] == ["first", *(f"x{n}" for n in range(5))]
    lost = runs.child("dropped")
    assert [row.id for row in lost.read_records("part-000001.parquet", Dropped)] == ["x1", "x2"]


def test_a_retried_shard_takes_the_place_of_the_first(runs: Folder) -> None:
    shard = Shard(3, "", 0, 0)
    parts.write_shard(runs, shard, answers(1), Answer, [dropped("i2", "request failed")])
    parts.write_shard(runs, shard, answers(1, 2), Answer, [])
    assert list(parts.rows_of(runs, Answer)) == answers(1, 2)
    assert list(parts.dropped_of(runs)) == []


def test_facts_of_shards_are_summed_without_their_rows(runs: Folder) -> None:
    for number, tokens in enumerate((5, 7)):
        parts.write_shard(runs, Shard(number, "", 0, 0), answers(number), Answer, [], {"output_tokens": tokens})
    parts.write_shard(runs, Shard(2, "", 0, 0), [], Answer, [])
    found = parts.totals(runs)
    assert (found["output_tokens"], found["prompt_tokens"]) == (12, 0)
    assert list(parts.rows_of(runs, Answer)) == answers(0, 1)


def test_a_stage_that_kept_nothing_still_has_its_part(runs: Folder) -> None:
    parts.write_rows(runs, [], Answer, [dropped("i1", "empty answer")])
    assert parts.summary(runs, Answer) == (0, f"{0:064x}", {"empty answer": 1})


def test_rows_can_be_chosen_while_reading(runs: Folder) -> None:
    parts.write_rows(runs, answers(1, 2, 3), Answer)
    assert list(parts.rows_of(runs, Answer, lambda a: a.id != "a2")) == answers(1, 3)
    with pytest.raises(AssertionError, match="Dropped"):
        list(parts.rows_of(runs, Dropped))
