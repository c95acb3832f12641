"""Rewritten tasks: what is asked, which rewritings fail and why, and that they lead back."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipelines.core import parts
from pipelines.core.config import Evolved
from pipelines.core.records import Completion, Dropped, Instruction
from pipelines.core.stage import StageRun
from pipelines.core.storage import Folder
from pipelines.generate import evolved
from pipelines.generate.evolved import EvolveWork
from pipelines.generate.prompts import Prompt
from pipelines.generate.teacher import TeacherId

CONFIG = Evolved(kind="evolved", teacher="main", generations=2)
ROW = Instruction("i1", "Name three big rivers.", "Asia\n\nonly", "seed", "train", (), "", "")


def prompt(name: str) -> Prompt:
    return Prompt.load(name, "instructions.ways", ["task"])


def work(*ways: str, stage: str = "evolved_1") -> EvolveWork:
    return EvolveWork(stage, TeacherId("main", "d"), CONFIG, tuple(map(prompt, ways)))


def said(text: str, finish: str = "stop") -> Completion:
    return Completion("c1", "d", "prompt", text, (1,), finish, 1, 1)


def test_a_document_asks_on_one_line_and_a_chat_turn_as_it_stands() -> None:
    (request,) = work("evolve/constraints").requests(ROW)
    assert request.prompt.endswith("Plain task: Name three big rivers. Asia only\nDemanding task:")
    assert (request.is_chat, request.sampling.stop) == (False, ("\n",))
    (request,) = work("evolve-chat/constraints").requests(ROW)
    assert request.prompt.endswith("\n\nName three big rivers.\n\nAsia\n\nonly")
    assert (request.is_chat, request.sampling.stop) == (True, ())
    assert work("evolve/constraints").requests(replace(ROW, split="held_out")) == []


def test_every_way_is_taken_and_which_one_depends_on_task_and_generation() -> None:
    rows = [replace(ROW, id=f"i{n}") for n in range(60)]
    first, second = (work(*CONFIG.ways, stage=f"evolved_{n}") for n in (1, 2))
    chosen = [first.requests(row)[0].prompt for row in rows]
    assert chosen == [first.requests(row)[0].prompt for row in rows]
    assert len(set(chosen)) == len(CONFIG.ways) == 5
    assert chosen != [second.requests(row)[0].prompt for row in rows]


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("Name three rivers of Asia that", "length", "cut off"),
        (" \n", "stop", "empty"),
        ("I'm sorry, but that is not for me to say.", "stop", "refusal"),
        ("Sorry, no.", "stop", "refusal"),
        ("I cannot rewrite this one.", "stop", "refusal"),
        ("As an AI language model I have no rivers.", "stop", "refusal"),
        ("The plain task is to name rivers.", "stop", "copies the prompt"),
        ("Name three big rivers, Asia only!", "stop", "like its parent"),
    ],
)
def test_a_rewriting_that_failed_is_dropped_with_its_reason(text: str, finish: str, reason: str) -> None:
    (dropped,) = work("evolve/constraints").settle(ROW, [said(text, finish)])
    assert isinstance(dropped, Dropped)
    assert (dropped.reason, dropped.stage) == (reason, "evolved_1")
    assert work("evolve/constraints").settle(ROW, [None]) == []


def test_a_rewriting_is_a_new_task_with_its_parent() -> None:
    (new,) = work("evolve/constraints").settle(ROW, [said(" name two rivers of Asia\n that freeze, and sorry towns. ")])
    assert isinstance(new, Instruction)
    assert new.text == "Name two rivers of Asia that freeze, and sorry towns."
    assert (new.parents, new.completion_id, new.origin, new.input) == (("i1",), "c1", "bootstrap", "")
    assert new.group


def test_all_generations_are_gathered_and_nothing_is_like_a_held_out_task(
    runs: Folder, stage_run: Callable[..., StageRun]
) -> None:
    def tasks(name: str, *texts: str) -> Folder:
        rows = [Instruction(Instruction.make_id(t, ""), t, "", "bootstrap", "train", ("i1",), "c", "") for t in texts]
        parts.write_rows(runs.child(name), rows, Instruction)
        return runs.child(name)

    held_out = replace(ROW, id="i2", text="Say what makes a good bridge.", split="held_out")
    parts.write_rows(runs.child("seeds"), [ROW, held_out], Instruction)
    one = tasks("one", "Explain why rivers freeze.", "Draw a river and a town.")
    last = "Explain why lakes do not freeze."
    two = tasks("two", "Say what makes a good bridge now.", "Explain why rivers freeze.", last)
    run = stage_run("instructions", seeds=runs.child("seeds"), evolved_1=one, evolved_2=two)
    outcome = evolved.gather(CONFIG, run)
    assert [i.text for i in parts.rows_of(run.folder, Instruction)] == [
        ROW.text, "Explain why rivers freeze.", last,
    ]  # fmt: skip
    assert outcome.dropped == {"beyond text": 1, "like a held-out task": 1, "duplicate": 1}
