"""Filters of rationales: what each has something against, what looks alike and stays, and what trimming leaves."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from pipelines.core.config import RATIONALE_FILTERS, RationaleFilter, Released
from pipelines.core.records import Question, Rationale
from pipelines.generate.conclusions import concluded, says_right
from pipelines.generate.rationale_filters import KNOWN, fault, trimmed
from pipelines.generate.released_rationales import read

RELEASE = Path(__file__).parents[2].parent / "shared/data/tinyllm"
PALMS = Question(
    "q1", "k1", "Which skin warms hands the quickest?", "", ("dry palms", "wet palms", "palms", "a glove"), 0, "train"
)
GOOD = "Friction turns motion into heat. Dry skin rubs more than wet skin does, so it warms the hands."


def rationale(text: str, finish_reason: str = "stop") -> Rationale:
    return Rationale("r1", "q1", "llama", text, "", finish_reason)


def has(name: RationaleFilter, text: str, finish_reason: str = "stop") -> bool:
    return KNOWN[name](rationale(text, finish_reason), PALMS, 5)


def test_every_filter_of_a_recipe_is_known_and_finds_no_fault_with_a_good_rationale() -> None:
    assert set(KNOWN) == set(RATIONALE_FILTERS)
    assert not any(has(name, GOOD) for name in RATIONALE_FILTERS)


@pytest.mark.parametrize(
    "more",
    [
        "Question:\nWhat is",
        "\n### Question 14\n",
        "Q. A man in a boat",
        "Q.11: If a man",
        "Next question: why",
        "**Question 2:** Why",
        "Question",
        "Options:",
        "(a) a lake\n(b) a sea",
        "a. in space\n\nb. in fire",
        "# ",
        "```python",
        "Example 2: Why",
        "Let's think step by step.",
        "Explanation:\nAs it is",
        "Comment: Please explain.",
    ],
)
def test_what_begins_another_thing_runs_on_and_is_cut_there(more: str) -> None:
    assert has("runs on", f"{GOOD}\n{more}")
    assert trimmed(rationale(f"{GOOD}\n{more}")).text == GOOD


@pytest.mark.parametrize(
    "text",
    [
        "The question is which skin is dry. An example: sand.",
        "Step 1: Look.\nStep 2: Rub the palms.",
        "(a) Dry palms: they rub well.\n(b) Wet palms: they do not.",
        "Explanation: dry skin rubs.",
        "They rub well.\nAnswer: (a)",
        "Use #2 of them.",
        "There are many\nquestions. One is how.",
    ],
)
def test_what_only_looks_like_it_does_not(text: str) -> None:
    assert not has("runs on", text)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("Dry skin rubs.", False),
        ("Does it rub? Yes!\n\n", False),
        ('He called it "friction."', False),
        ("It rubs (as skin does.)", False),
        ("It rubs (as skin does)", True),
        ("Dry skin rubs. The", True),
        ("Dry skin rubs.\n2.", True),
        ("It costs 2.", False),
        ("It is 2.5", True),
        ("", True),
    ],
)
def test_a_rationale_ends_with_a_sentence(text: str, cut: bool) -> None:
    assert has("cut off", text) is cut
    assert has("cut off", text, "length")


def test_fewer_words_are_too_short() -> None:
    assert has("too short", "Dry skin rubs more.")
    assert not has("too short", "Dry skin rubs more strongly.")


@pytest.mark.parametrize(
    ("text", "echo"),
    [
        ("Which skin warms hands the quickest?", True),
        ("(a) dry palms\n(b) wet palms\n", True),
        ("The quickest skin warms. Palms warm the hands.", False),
        ("Which skin warms hands the quickest? Dry palms. Which skin warms hands the quickest? Dry palms.", True),
        ("Which skin warms hands the quickest? Dry palms, as they rub the most.", False),
    ],
)
def test_the_prompt_again_is_an_echo(text: str, echo: bool) -> None:
    assert has("echoes the prompt", text) is echo


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("So the answer is (b).", 1),
        ("the correct answer is b)", 1),
        ("The correct option is option b because it is wet", 1),
        ("The answer is clearly 'b'.", 1),
        ("Answer: B\n", 1),
        ("**Answer:** it rubs", None),
        ("The answer is: **(b)** wet palms", 1),
        ("The answer to the question is d.", 3),
        ("Option (b) is correct.", 1),
        ("Thus (b) is the right choice.", 1),
        ("Hence, (b).", 1),
        ("The answer is wet palms.", 1),
        ("The answer is the glove, as ever.", 3),
        ("the answer is a", 0),
        ("The answer is a little tricky.", None),
        ("The answer is not (b).", None),
        ("Option (b) is not correct.", None),
        ("The answer is (b) or (c).", None),
        ("The answer is b, c and d.", None),
        ("The answer is (e).", None),  # there is no such option
        ("The answer is (a). No, the answer is (b).", 1),
        ("(b) is correct, some say. The answer is dry palms.", 0),
        (GOOD, None),
    ],
)
def test_the_last_conclusion_counts_in_all_its_forms(text: str, choice: int | None) -> None:
    assert concluded(text, PALMS) == choice
    assert has("argues for another", text) is (choice not in (None, 0))


def test_what_another_question_is_answered_with_is_no_conclusion() -> None:
    assert not has("argues for another", "So, the answer is (a).\nQuestion:\nWhy?\nAnswer:\nb")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("The answer is (a), not wet palms.", True),
        ("Dry palms rub most.", True),
        ("Dry palms rub more than wet palms.", False),
        ("Dry skin rubs most.", False),
        ("Dry palms rub, but the answer is (b).", False),
    ],
)
def test_the_right_option_is_said_in_a_conclusion_or_alone(text: str, says: bool) -> None:
    assert says_right(text, PALMS) is says


def test_trimming_leaves_whole_sentences_or_nothing() -> None:
    whole = trimmed(rationale("It rubs.\n1. It warms (well.)\n2.", "length"))
    assert (whole.text, whole.finish_reason) == ("It rubs.\n1. It warms (well.)", "stop")
    assert whole.id == Rationale.make_id("q1", "llama", whole.text)
    assert trimmed(rationale("It rubs so")).text == trimmed(rationale("Question:\nWhy?")).text == ""
    assert trimmed(whole) == whole


def test_the_first_fault_in_the_recipes_order_is_named() -> None:
    poor = rationale("The answer is (b)\nQuestion:", "length")
    assert fault(poor, PALMS, RATIONALE_FILTERS, 5) == "runs on"
    assert fault(poor, PALMS, ("argues for another", "runs on"), 5) == "argues for another"
    assert fault(poor, PALMS, ("too short",), 5) is None
    assert fault(poor, PALMS, ("too short",), 6) == "too short"
    assert fault(poor, PALMS, (), 6) is None


def questions(name: str) -> Iterator[Question]:
    """The release's training questions: a JSON list, or JSON lines."""
    text = (RELEASE / name / f"{name}_train.json").read_text()
    for row in json.loads(text) if text.startswith("[") else map(json.loads, text.splitlines()):
        choices = tuple(row["choices"])
        id = Question.make_id("", row["question"], choices)
        yield Question(id, row["id"], row["question"], "", choices, choices.index(row["answer"]), "train")


@pytest.mark.skipif(not RELEASE.is_dir(), reason="shared/data/tinyllm is not beside this checkout")
@pytest.mark.parametrize(
    ("name", "of", "missing", "each", "good", "good_trimmed"),
    [
        ("obqa", "flan-t5", 2, (0, 8, 2, 708, 1), 4232, 4235),
        ("obqa", "llama-2", 140, (2478, 4351, 184, 119, 101), 305, 3949),
        ("arc", "flan-t5", 12, (0, 4, 0, 223, 0), 879, 880),
        ("arc", "llama-2", 20, (453, 985, 16, 69, 24), 78, 921),
    ],
)
def test_the_faults_of_the_released_rationales(
    name: str,
    of: Literal["flan-t5", "llama-2"],
    missing: int,
    each: tuple[int, ...],
    good: int,
    good_trimmed: int,
) -> None:
    """`each` counts every filter by itself, in the recipe's order."""
    asked = {question.id: question for question in questions(name)}
    found = read(Released(kind="released", of=of), "given", RELEASE / name / "llm", list(asked.values()))
    assert set(found.texts) == set(asked)
    rows = [Rationale("", id, of, text, "", "stop") for id, text in found.texts.items() if text]
    assert len(asked) - len(rows) == missing
    counts = Counter(n for r in rows for n in RATIONALE_FILTERS if KNOWN[n](r, asked[r.question_id], 5))
    assert tuple(counts[n] for n in RATIONALE_FILTERS) == each
    for kept, those in ((good, rows), (good_trimmed, map(trimmed, rows))):
        assert sum(fault(r, asked[r.question_id], RATIONALE_FILTERS, 5) is None for r in those) == kept
