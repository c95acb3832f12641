"""Seed tasks: bad lines are kept as dropped rows, good ones go on; the split; and the files that are known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.core import parts
from pipelines.core.builtin import SEED_TASKS
from pipelines.core.config import Seeds
from pipelines.core.errors import UserError
from pipelines.core.records import Instruction
from pipelines.core.stage import StageRun
from pipelines.formats.folder import import_
from pipelines.generate import seeds
from pipelines.generate.novelty import Pool

COMMON = Path(__file__).parents[2].parent / "shared/data/seeds/self_instruct_175.jsonl"


def task(instruction: object, input: str = "", output: str = "") -> dict[str, Any]:
    return {"id": "seed", "instruction": instruction, "instances": [{"input": input, "output": output}]}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Tasks, or lines as they are, to a file."""

    def make(*lines: object) -> Path:
        file = tmp_path / "tasks.jsonl"
        whole = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        file.write_bytes(b"\n".join(whole) + b"\n")
        return file

    return make


def test_a_good_task_becomes_an_instruction(write: Callable[..., Path]) -> None:
    [first, bare], dropped = seeds.read(write(task(" List  ten\nrivers. ", " Asia ", " Ob "), {"instruction": "Sing."}))
    assert (first.text, first.input, first.reference) == ("List ten rivers.", "Asia", "Ob")
    assert (first.origin, first.split, first.parents, first.completion_id) == ("seed", "train", (), "")
    assert first.as_prompt() == "List ten rivers.\n\nAsia"
    assert (bare.as_prompt(), bare.reference) == ("Sing.", "")
    assert dropped == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"instruction": "cut o', "not JSON"),
        (b'{"instruction": "\xff\xfe"}', "not JSON"),
        ({"instances": []}, "no instruction"),
        (task("  "), "no instruction"),
        (task(["List"]), "no instruction"),
        ({"instruction": "Why?", "instances": {"input": "", "output": ""}}, "bad instances"),
        ({"instruction": "Why?", "instances": [{"input": 3, "output": ""}]}, "bad instances"),
        ({"instruction": "Why?", "instances": [{"input": ""}]}, "bad instances"),
        ({"instruction": "Why?", "instances": None}, "bad instances"),
        (task("Good one."), "duplicate"),
        (task("Good  one. "), "duplicate"),
    ],
)
def test_a_bad_line_is_dropped_with_its_number_and_the_others_go_on(
    write: Callable[..., Path], line: object, reason: str
) -> None:
    good, [dropped] = seeds.read(write(task("Good one."), b"", line, task("Good two.")))
    assert [i.text for i in good] == ["Good one.", "Good two."]
    assert dropped.reason == reason
    assert dropped.detail.startswith("tasks.jsonl:3: ")
    assert dropped.stage == "seeds"


@pytest.mark.parametrize("line", [b"42", b'"a plain text"', b'""', b"null", b"[1, 2]"])
def test_a_line_that_is_no_task_has_a_reason_that_can_be_counted(write: Callable[..., Path], line: bytes) -> None:
    good, dropped = seeds.read(write(task("Good one."), line, b'"another text"'))
    assert [i.text for i in good] == ["Good one."]
    assert [row.detail.split(": ")[0] for row in dropped] == ["tasks.jsonl:2", "tasks.jsonl:3"]
    assert len({row.reason for row in dropped}) == 1


def test_half_a_character_is_dropped_and_can_be_written(
    write: Callable[..., Path], stage_run: Callable[..., StageRun]
) -> None:
    file = write(
        b'{"instruction": "Explain \\ud83d"}', *(task(text) for text in ("Sing.", "Count rivers.", "Bake it.", "Go."))
    )
    run = stage_run("seeds")
    assert seeds.run(Seeds(tasks=str(file), held_out=3), 17, 0.7, run).rows == 4
    assert len(list(parts.dropped_of(run.folder))) == 1


def test_a_reader_of_the_users_own_gives_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "import csv\ndef read(path):\n    return csv.DictReader(open(path))\n"
    (tmp_path / "reader_of_csv.py").write_text(code)
    (tmp_path / "tasks.csv").write_text("instruction,level\nList ten rivers.,1\n,2\nName two kings.,3\n")
    good, [dropped] = seeds.read(tmp_path / "tasks.csv", "reader_of_csv:read")
    assert [i.text for i in good] == ["List ten rivers.", "Name two kings."]
    assert dropped.reason == "no instruction"
    assert "2" in dropped.detail


@pytest.mark.parametrize(("name", "words"), [("absent.jsonl", "there is no file"), ("empty.jsonl", "is empty")])
def test_a_file_without_tasks_is_told(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserError, match=words):
        seeds.seed_file(Seeds(tasks=str(tmp_path / name)))


def test_too_few_good_tasks_are_told(write: Callable[..., Path], stage_run: Callable[..., StageRun]) -> None:
    file = write(task("Sing."), task("Count."), task("Bake."), b"{")
    with pytest.raises(UserError, match=r"3 good tasks \(1 dropped\).*lower seeds.held_out"):
        seeds.run(Seeds(tasks=str(file), held_out=3), 17, 0.7, stage_run("seeds"))


def test_seeds_can_be_an_imported_folder(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"instruction": "Sort.", "input": "Ob", "output": "Ob"},
        {"instruction": "Sing.", "output": "La."},
    ]
    (tmp_path / "in.json").write_text(json.dumps(rows))
    done = import_(str(tmp_path / "in.json"), "alpaca", str(tmp_path / "folder"))
    config = Seeds(tasks=str(tmp_path / "folder"), held_out=2)
    tasks, dropped = seeds.read(seeds.seed_file(config))
    assert [(task.text, task.input, task.reference) for task in tasks] == [("Sort.", "Ob", "Ob"), ("Sing.", "", "La.")]
    assert dropped == []
    assert seeds.content_key(config)["tasks"] == done.manifest["digest"]


def test_a_conversation_of_several_turns_is_no_seed_task(write: Callable[..., Path], tmp_path: Path) -> None:
    talk = [{"role": role, "content": "Hm."} for role in ("user", "assistant", "user", "assistant")]
    done = import_(str(write({"messages": talk})), "messages", str(tmp_path / "folder"))
    tasks, [dropped] = seeds.read(Path(done.folder.uri))
    assert (tasks, dropped.reason) == ([], "not a task")


def test_the_split_is_seeded_and_apart(stage_run: Callable[..., StageRun]) -> None:
    tasks, _ = seeds.read(SEED_TASKS)
    kept, _ = seeds.split(tasks, 40, 17, 0.7)
    apart = {i.id for i in kept if i.split == "held_out"}
    assert len(apart) == 40
    assert len(kept) == len({i.id for i in kept})
    shuffled, _ = seeds.split(tasks[::-1], 40, 17, 0.7)
    assert {i.id for i in shuffled if i.split == "held_out"} == apart
    other, _ = seeds.split(tasks, 40, 18, 0.7)
    assert {i.id for i in other if i.split == "held_out"} != apart


def test_a_training_task_like_a_held_out_one_is_dropped() -> None:
    texts = [
        f"{verb} a {thing}." for thing in ("short poem about rain", "long letter to Rome") for verb in ("Write", "Make")
    ]
    tasks = [Instruction(Instruction.make_id(t, ""), t, "", "seed", "train", (), "", "") for t in texts]
    twins = dict(zip(texts, [texts[1], texts[0], texts[3], texts[2]], strict=True))
    kept, dropped = seeds.split(tasks, 1, 17, 0.7)
    [held_out] = [i for i in kept if i.split == "held_out"]
    assert [(d.text, d.reason) for d in dropped] == [(twins[held_out.text], "like a held-out task")]
    assert held_out.text in dropped[0].detail
    assert len(kept) == 3


def test_the_stage_writes_both_splits_and_what_it_dropped(
    write: Callable[..., Path], stage_run: Callable[..., StageRun]
) -> None:
    words = ["river", "bread", "engine", "winter", "garden", "library", "violin", "market"]
    file = write(b"{", *(task(f"Explain what a {w} is to {v}.") for w, v in zip(words, words[::-1], strict=True)))
    run = stage_run("seeds")
    outcome = seeds.run(Seeds(tasks=str(file), held_out=3), 17, 0.9, run)
    rows = list(parts.rows_of(run.folder, Instruction))
    assert [i.split for i in rows].count("held_out") == 3
    assert (outcome.rows, outcome.dropped, outcome.facts) == (8, {"not JSON": 1}, {"held_out": 3, "lines": 9})


def test_the_built_in_tasks_are_many_different_and_of_every_kind() -> None:
    lines = [json.loads(line) for line in SEED_TASKS.read_text(encoding="utf-8").splitlines()]
    tasks, dropped = seeds.read(SEED_TASKS)
    assert dropped == []
    assert len(tasks) == len(lines) >= 175
    assert len({line["id"] for line in lines}) == len(lines)
    assert sum(line["is_classification"] for line in lines) >= 25
    with_input = sum(bool(i.input) for i in tasks)
    assert 25 <= with_input <= len(tasks) - 25
    assert all(i.reference for i in tasks)
    pool = Pool(0.7)
    for instruction in tasks:
        assert pool.nearest(instruction.text) is None, instruction.text
        pool.add(instruction.text)


@pytest.mark.skipif(not COMMON.is_file(), reason="the common seed file is not beside this checkout")
def test_the_common_seed_tasks_are_all_good() -> None:
    tasks, dropped = seeds.read(COMMON)
    assert (len(tasks), dropped) == (175, [])
