"""A record: found by the exact prompt, in order, and true about its bad lines."""

import asyncio
import json
from pathlib import Path

import pytest

from pipelines.core.config import Sampling
from pipelines.core.errors import UserError
from pipelines.core.records import Completion
from pipelines.formats.folder import import_
from pipelines.generate.recorded import RecordedTeacher, digest, read
from pipelines.generate.teacher import RequestFailed, TeacherId, write_request

WHERE = "teachers.old.files"
GOOD = {"prompt": "Why?", "completion": "Because."}


def lines(file: Path, *rows: object) -> str:
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(file)


def ask(files: list[str], prompt: str, ordinal: int = 0) -> Completion:
    teacher = RecordedTeacher("digest-1", read(files, WHERE))
    request = write_request(TeacherId("old", "digest-1"), prompt, Sampling(), ordinal=ordinal)
    return asyncio.run(teacher.write(request))


def test_several_outputs_of_a_prompt_are_its_samples_in_the_files_order(tmp_path: Path) -> None:
    first = lines(tmp_path / "a.jsonl", GOOD, {"prompt": "How?", "text": "So.", "finish_reason": "length"})
    second = lines(tmp_path / "b.jsonl", {"prompt": "Why?", "text": "Therefore."})
    said = [ask([first, second], "Why?", n) for n in range(2)]
    assert [(s.text, s.finish_reason, s.token_ids) for s in said] == [
        ("Because.", "stop", ()),
        ("Therefore.", "stop", ()),
    ]
    assert ask([first, second], "How?").finish_reason == "length"
    for prompt, ordinal, words in (("Why?", 2, "2 outputs for this prompt"), ("Why? ", 0, "not recorded")):
        with pytest.raises(RequestFailed, match=words):
            ask([first, second], prompt, ordinal)


def test_bad_lines_are_counted_and_told_and_cost_no_other(tmp_path: Path) -> None:
    bad = ("{no", 3, {"prompt": "A"}, {"text": "B"}, {**GOOD, "completion": 5}, {**GOOD, "finish_reason": 1})
    record = read([lines(tmp_path / "a.jsonl", GOOD, "", *bad, GOOD)], WHERE)
    assert [len(outputs) for outputs in record.said.values()] == [2]
    assert [fault.split(":")[0] for fault in record.faults] == [f"a.jsonl line {n}" for n in range(3, 9)]
    assert "2 outputs for 1 prompts; 6 lines left out: a.jsonl line 3: " in record.words()
    assert record.words().endswith(", ...")


def test_a_file_that_is_not_there_or_holds_nothing_is_refused(tmp_path: Path) -> None:
    for file, words in (
        (lines(tmp_path / "bad.jsonl", "{no"), r"teachers\.old\.files: .*bad\.jsonl holds nothing.*line 1"),
        (lines(tmp_path / "empty.jsonl"), "it is empty"),
        (str(tmp_path / "none.jsonl"), r"none\.jsonl cannot be read"),
    ):
        with pytest.raises(UserError, match=words):
            read([file], WHERE)
    with pytest.raises(UserError, match="neither a file nor a folder"):
        digest([str(tmp_path / "none.jsonl")], WHERE)


def test_an_imported_folder_is_a_record_of_its_single_questions(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    source = lines(tmp_path / "chats.jsonl", {"messages": turns}, {"messages": [*turns, *turns]})
    folder = str(tmp_path / "imported")
    import_(source, "messages", folder)
    assert ask([folder], "Why?").text == "Because."
    assert len(read([folder], WHERE).faults) == 1


def test_a_record_is_what_it_holds_and_not_where_it_lies(tmp_path: Path) -> None:
    one, copy = lines(tmp_path / "a.jsonl", GOOD), lines(tmp_path / "b.jsonl", GOOD)
    other = lines(tmp_path / "c.jsonl", {**GOOD, "text": "more"})
    assert digest([one], WHERE) == digest([copy], WHERE) != digest([other], WHERE)


def test_a_turn_that_follows_others_is_not_in_a_record(tmp_path: Path) -> None:
    teacher = RecordedTeacher("digest-1", read([lines(tmp_path / "a.jsonl", GOOD)], WHERE))
    later = write_request(TeacherId("old", "digest-1"), "Why?", Sampling(), earlier=["Hello.", "Good day."])
    with pytest.raises(RequestFailed, match="follows others"):
        asyncio.run(teacher.write(later))
