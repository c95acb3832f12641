"""Answers that came with their tasks, and the shapes that the user's turn may have."""

from collections.abc import Callable

from pipelines.core import parts
from pipelines.core.config import OwnAnswers
from pipelines.core.records import Answer, Instruction
from pipelines.core.stage import StageRun
from pipelines.core.storage import Folder
from pipelines.generate import own_answers
from pipelines.generate.own_answers import WITH_INPUT, WITHOUT_INPUT, varied


def task(n: int, input: str = "", reference: str = "Yes.") -> Instruction:
    return Instruction(f"i{n}", f"Task {n}?", input, "bootstrap", "train", (), f"c{n}", reference)


def test_own_answers_are_taken_and_none_is_invented(runs: Folder, stage_run: Callable[..., StageRun]) -> None:
    source = runs.child("source")
    parts.write_rows(source, [task(1, "Ob"), task(2, reference="")], Instruction)
    run = stage_run("answers", source=source)
    outcome = own_answers.run(OwnAnswers(kind="own"), run)
    (answer,) = parts.rows_of(run.folder, Answer)
    assert (answer.instruction_id, answer.completion_id, answer.prompt, answer.text) == (
        "i1",
        "c1",
        "Task 1?\n\nOb",
        "Yes.",
    )
    assert outcome.dropped == {"no own answer": 1}


def test_turns_vary_by_the_task_alone_and_hold_all_of_it() -> None:
    turns = [varied(task(n, f"Text: river {n}\n\nand sea")) for n in range(200)]
    assert turns == [varied(task(n, f"Text: river {n}\n\nand sea")) for n in range(200)]
    for n, turn in enumerate(turns):
        assert f"Task {n}?" in turn
        assert f"river {n}\nand sea" in turn or f"Text: river {n}\n\nand sea" in turn
    simple = sum("Text:" not in turn for turn in turns)
    assert 60 < simple < 140
    shapes = {
        turn.replace("Text: ", "").replace("\n\nand", "\nand").replace(str(n), "") for n, turn in enumerate(turns)
    }
    assert len(shapes) == len(WITH_INPUT) == 7
    assert len({varied(task(n)).replace(str(n), "") for n in range(200)}) == len(WITHOUT_INPUT) == 6


def test_an_input_with_several_fields_keeps_their_names() -> None:
    both = "Name: Ob\nLength: 3650 km"
    assert all(both in varied(task(n, both)) for n in range(20))
