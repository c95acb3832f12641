"""Self-Instruct's passes 2 to 4: what is asked, how replies are read, what is dropped and why."""

from dataclasses import replace
from typing import Any

import pytest

from pipelines.core.config import Instances
from pipelines.core.records import Completion, Dropped, Instruction
from pipelines.generate.instances import Instance, InstanceWork, TaskTypeWork, exemplified, judge, labelled
from pipelines.generate.prompts import Prompt
from pipelines.generate.teacher import TeacherId

CONFIG, TEACHER = Instances(teacher="main"), TeacherId("main", "d")
TASK = Instruction("i1", "Sort the words.", "", "bootstrap", "train", ("s1",), "c0", "")
TASK = replace(TASK, id=Instruction.make_id(TASK.text, ""))


def prompt(name: str) -> Prompt:
    return Prompt.load(name, "instances", ["task"])


def said(text: str, finish: str = "stop") -> Completion:
    return Completion("c1", "d", "", text, (1,), finish, 1, 1)


TYPES = TaskTypeWork(TEACHER, CONFIG, prompt("task-type"))
WORK = InstanceWork("instances", TEACHER, CONFIG, prompt("input-first"), prompt("output-first"))


def test_a_type_is_asked_for_greedily_and_only_where_it_is_not_known() -> None:
    (request,) = TYPES.requests(TASK)
    assert request.prompt.endswith("Task: Sort the words.\nOne label of a closed set?")
    assert not request.is_chat
    assert (request.sampling.temperature, request.sampling.max_tokens, request.sampling.stop) == (0, 3, ("\n",))
    known = replace(TASK, task_type="generation")
    assert TYPES.requests(known) == []
    assert TYPES.settle(known, []) == [known]
    assert TYPES.settle(TASK, [None]) == []


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        (" Yes", "classification"), (" yes.", "classification"), (" Yesterday", "generation"), ("", "generation"),
        (" No, yes", "generation"),
    ],
)  # fmt: skip
def test_anything_but_a_yes_is_a_task_of_the_other_kind(text: str, type_: str) -> None:
    assert TYPES.settle(TASK, [said(text)]) == [replace(TASK, task_type=type_)]


def test_a_task_is_asked_for_in_the_order_of_its_type() -> None:
    (free,) = WORK.requests(replace(TASK, task_type="generation"))
    (label,) = WORK.requests(replace(TASK, task_type="classification"))
    assert "Example 1\nInput:" in free.prompt
    assert "Label: odd\nInput: 37" in label.prompt
    assert free.sampling.stop == ("\nExample 6\n", "\nTask:")
    answered = replace(TASK, reference="a, b")
    assert WORK.requests(answered) == []
    assert WORK.settle(answered, []) == [answered]


def test_examples_are_read_at_the_starts_of_lines() -> None:
    text = "\nExample 1\nInput: pear, Example 7, fig\nOutput: fig, pear\nInput: and Output: too\nExample 2\nOutput: x\n"
    assert exemplified(text) == [
        Instance("pear, Example 7, fig", "fig, pear\nInput: and Output: too"), Instance("", "x"),
    ]  # fmt: skip
    assert exemplified("\nOutput: alone.") == [Instance("", "alone.")]
    assert exemplified(" and more\nExample 1\nInput: a\nOutput: b") == [Instance("and more", None), Instance("a", "b")]


def test_labels_are_read_each_with_its_input() -> None:
    text = "\nLabel: odd\nInput: 37\nLabel: even\nInput: The Label: 4\nand more\nLabel: none"
    assert labelled(text) == [Instance("37", "odd"), Instance("The Label: 4\nand more", "even"), Instance("", "none")]
    assert labelled("Hm.\nLabel: odd") == [Instance("Hm.", None), Instance("", "odd")]


@pytest.mark.parametrize(
    ("instance", "reason"),
    [
        (Instance("a", "b"), ""), (Instance("", "b"), ""), (Instance("a", None), "nothing to read"),
        (Instance("a", ""), "empty output"), (Instance("a", "a"), "input is output"),
        (Instance("The list:", "b"), "ends with a colon"), (Instance("a", "As follows:"), "ends with a colon"),
    ],
)  # fmt: skip
def test_a_faulty_instance_is_dropped_alone(instance: Instance, reason: str) -> None:
    good = Instance("x", "y")
    assert judge([instance, good], False, 5, "t") == [(instance, reason), (good, "")]


def test_the_last_instance_of_a_cut_reply_is_dropped() -> None:
    assert [reason for _, reason in judge([Instance("a", "b"), Instance("c", "d")], True, 5, "t")] == ["", "cut off"]


def test_two_outputs_for_one_input_drop_the_task_and_two_without_input_do_not() -> None:
    read = [Instance("a", "b"), Instance("a", "c"), Instance("d", "e"), Instance("f", "")]
    assert [r for _, r in judge(read, False, 5, "t")] == ["outputs differ"] * 3 + ["empty output"]
    assert [r for _, r in judge([Instance("", "b"), Instance("", "c")], False, 5, "t")] == ["", ""]


def test_what_is_kept_depends_on_the_instances_and_not_on_their_order() -> None:
    read = [Instance(str(n), f"{n}!") for n in range(8)]
    kept = {i for i, reason in judge(read, False, 5, "t") if not reason}
    assert len(kept) == 5
    assert {i for i, reason in judge(read[::-1] + read, False, 5, "t") if not reason} == kept
    reasons = [reason for _, reason in judge(read + read, False, 5, "t")]
    assert (reasons.count("one too many"), reasons.count("duplicate")) == (3, 8)
    assert {i for i, reason in judge(read, False, 5, "another") if not reason} != kept


def test_an_instance_is_a_task_with_an_answer_that_leads_back() -> None:
    text = "\nExample 1\nInput: pear, fig\nOutput: fig, pear\nExample 2\nOutput: none\nExample 3\nInput: a\nOutput:"
    made: list[Any] = WORK.settle(replace(TASK, task_type="generation"), [said(text)])
    first, second, third = made
    assert (first.text, first.input, first.reference) == (TASK.text, "pear, fig", "fig, pear")
    assert (first.id, first.parents) == (Instruction.make_id(TASK.text, "pear, fig"), (TASK.id,))
    assert (second.id, second.parents, second.completion_id) == (TASK.id, ("s1",), "c1")
    assert isinstance(third, Dropped)
    assert (third.reason, third.text) == ("empty output", TASK.text)
